// SPDX-License-Identifier: GPL-2.0
// Columns, dates and JSON.

import BcachefsFormat
import BcachefsSupport
import Foundation
import Testing

struct TextTests {
  @Test func tabsInTextEndOneColumnBeforeTheStop() {
    var out = TextPrinter()
    out.addTabStop(10)
    out.print("ab:\tcd\n")
    out.print("ab:")
    out.tab()
    out.print("cd\n")
    out.print("longer than that\tcd")
    #expect(out.text == "ab:      cd\nab:       cd\nlonger than thatcd")
  }

  @Test func tabsBeyondTheLastStopAreCharacters() {
    var out = TextPrinter()
    out.addTabStop(4)
    out.print("a\tb\tc")
    out.printRaw("\td")
    #expect(out.text == "a  b\tc\td")
  }

  @Test func indentationStartsWithTheLineOrAtOnce() {
    var out = TextPrinter()
    out.printLine("a")
    out.indent(2)
    out.printLine("b")
    out.print("c")
    out.indent(2)
    out.newline()
    out.print("d")
    out.outdent(2)
    out.newline()
    out.outdent(2)
    out.print("e")
    #expect(out.text == "a\n  b\n  c  \n    d\ne")
  }

  @Test func datesAreThoseOfTheCLibrary() {
    #expect(DateText.text(seconds: 0) == "Thu Jan  1 00:00:00 1970")
    #expect(DateText.text(seconds: 1_709_210_096) == "Thu Feb 29 12:34:56 2024")
    #expect(DateText.text(seconds: -1) == "Wed Dec 31 23:59:59 1969")
    #expect(DateText.text(seconds: 4_107_542_400) == "Mon Mar  1 00:00:00 2100")
    #expect(DateText.text(seconds: 0, offset: 3600) == "Thu Jan  1 01:00:00 1970")
    // Far away, and still a date.
    #expect(DateText.text(seconds: .max).contains(" 292277026596"))
    #expect(DateText.text(seconds: .max, offset: 1) == DateText.text(seconds: .max))
    #expect(DateText.text(seconds: .min).contains(" -292277022657"))
  }

  @Test func namesFromADiskCannotMoveTheCursor() {
    #expect(SafeText.text("a\u{1b}[2Jb\n".utf8) == "a\\x1b[2Jb\\x0a")
    #expect(SafeText.text([0x61, 0xff]) == "a\u{fffd}")
    #expect(SafeText.text("gr\u{f6}\u{df}e".utf8) == "gr\u{f6}\u{df}e")
  }

  @Test func jsonIsWhatAParserReads() throws {
    let value = JSONValue.object([
      .init("text", .string("a\"\\\n\u{1}\u{e9}")),
      .init("big", .integer(.max)),
      .init("list", .array([.bool(true), .null, .signed(-3), .array([]), .object([])])),
    ])
    #expect(
      value.text(indented: false)
        == "{\"text\":\"a\\\"\\\\\\n\\u0001\u{e9}\",\"big\":18446744073709551615,"
        + #""list":[true,null,-3,[],{}]}"#)
    let parsed = try JSONSerialization.jsonObject(with: Data(value.text().utf8))
    let object = try #require(parsed as? [String: Any])
    #expect(object["text"] as? String == "a\"\\\n\u{1}\u{e9}")
    #expect(object["big"] as? UInt64 == .max)
  }

  @Test(arguments: SuperblockFixture.all)
  func jsonOfASuperblockHasItsFields(fixture: SuperblockFixture) throws {
    let superblock = try fixture.superblock()
    let parsed = try JSONSerialization.jsonObject(with: Data(superblock.json().text().utf8))
    let object = try #require(parsed as? [String: Any])
    #expect(object["user_uuid"] as? String == superblock.userUUID.description)
    let sections = try #require(object["sections"] as? [[String: Any]])
    #expect(sections.map { $0["type"] as? String } == superblock.sections.map(\.type.description))
  }

  @Test func jsonCannotControlATerminal() {
    let text = JSONValue.string("a\u{7f}\u{9b}31mb\u{a0}").text()
    #expect(text == "\"a\\u007f\\u009b31mb\u{a0}\"")
  }
}
