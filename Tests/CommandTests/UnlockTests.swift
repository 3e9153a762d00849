// SPDX-License-Identifier: GPL-2.0
// `unlock`: what it says and refuses; and, where there are keyrings, that nobody is asked again.

internal import BcachefsIO
internal import BcachefsSupport
internal import TestSupport
internal import Testing

@Suite struct UnlockTests {
  @Test func checkSaysWhetherThereIsSomethingToUnlock() throws {
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let plain = try bcachefs("unlock", "-c", fixture.volume)
      #expect(plain.text == "Device has no encryption\n")
      #expect(plain.status == 1)
    }
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      let encrypted = try bcachefs("unlock", "--check", fixture.volume)
      #expect(encrypted.text == "Device is encrypted and locked\n")
      #expect(encrypted.status == 0)
      let object = try jsonObject(try bcachefs("unlock", "-c", "--json", fixture.volume))
      #expect(object["encrypted"] as? Bool == true)
      #expect(object["unlocked"] as? Bool == false)
    }
  }

  @Test func wrongPassphrasesAndCommandLinesAreRefused() throws {
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      try writeFile("\(fixture.folder)/wrong", Array("battery staple\n".utf8))
      let wrong = try bcachefs("unlock", "-f", "\(fixture.folder)/wrong", fixture.volume)
      #expect(wrong.status == 77)
      #expect(wrong.standardError.contains("is not the one of"))
      let typed = try bcachefs("unlock", fixture.volume, input: "battery staple\n")
      #expect(typed.status == 77)
      #expect(typed.standardError.contains("incorrect passphrase"))
      let keyring = try bcachefs("unlock", "-k", "thread", fixture.volume)
      #expect(keyring.status == 64)
    }
    try ReadFixture.with(try SampleVolume.fixture("plain")) { fixture in
      let plain = try bcachefs("unlock", fixture.volume, input: "x\n")
      #expect(plain.status != 0)
      #expect(plain.standardError.contains("needs no passphrase"))
    }
  }

  @Test(.enabled(if: hasKeyring, "no kernel keyrings here"))
  func afterwardsNoPassphraseIsNeeded() throws {
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      let before = try digest(fixture.images[0])
      let object = try jsonObject(
        try bcachefs("unlock", "--json", fixture.volume, input: "correct horse\n"))
      let name = try #require(object["key"] as? String)
      defer { KernelKeyring.user.remove(described: name) }
      let listed = try bcachefs("ls", fixture.volume)
      #expect(listed.status == 0, "\(listed.standardError)")
      let state = try bcachefs("unlock", "-c", fixture.volume)
      #expect(state.text == "Device is encrypted and unlocked\n")
      let after = try digest(fixture.images[0])
      #expect(after == before)
    }
  }

  @Test(.enabled(if: !hasKeyring, "there are kernel keyrings here"))
  func withoutKeyringsThatIsSaid() throws {
    try ReadFixture.with(try SampleVolume.fixture("encrypted")) { fixture in
      let result = try bcachefs("unlock", fixture.volume, input: "correct horse\n")
      #expect(result.status != 0)
      #expect(result.standardError.contains("keyring"))
    }
  }
}
