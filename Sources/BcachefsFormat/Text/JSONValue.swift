// SPDX-License-Identifier: GPL-2.0
// Values for `--json`: built by whoever prints a structure, written out in one place.

/// A JSON value. Objects keep the order of their members.
public enum JSONValue: Hashable, Sendable {
  case null
  case bool(Bool)
  /// Written with all its digits, also beyond 2^53.
  case integer(UInt64)
  case signed(Int64)
  case string(String)
  case array([JSONValue])
  case object([Member])

  /// One member of an object.
  public struct Member: Hashable, Sendable {
    public let name: String
    public let value: JSONValue

    public init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  /// An integer of any unsigned type.
  public static func number(_ value: some UnsignedInteger & FixedWidthInteger) -> JSONValue {
    .integer(UInt64(clamping: value))
  }

  /// The texts of some values.
  public static func texts(_ values: some Sequence<some CustomStringConvertible>) -> JSONValue {
    .array(values.map { .string($0.description) })
  }

  /// An object's member, nil for other values and names it does not have.
  public subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  /// - Parameter indented: Two spaces a level and a line a member; else all on one line.
  public func text(indented: Bool = true) -> String {
    var out = ""
    write(into: &out, indentation: indented ? 0 : nil)
    return out
  }

  private func write(into out: inout String, indentation: Int?) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .integer(let value): out += "\(value)"
    case .signed(let value): out += "\(value)"
    case .string(let value): Self.write(value, into: &out)
    case .array(let values):
      Self.writeList("[", "]", values, into: &out, indentation) { value, out, inner in
        value.write(into: &out, indentation: inner)
      }
    case .object(let members):
      Self.writeList("{", "}", members, into: &out, indentation) { member, out, inner in
        Self.write(member.name, into: &out)
        out += inner == nil ? ":" : ": "
        member.value.write(into: &out, indentation: inner)
      }
    }
  }

  private static func writeList<Element>(
    _ open: String, _ close: String, _ elements: [Element], into out: inout String,
    _ indentation: Int?, _ write: (Element, inout String, Int?) -> Void
  ) {
    out += open
    let inner = indentation.map { $0 + 2 }
    for (index, element) in elements.enumerated() {
      if index > 0 { out += "," }
      if let inner { out += "\n" + String(repeating: " ", count: inner) }
      write(element, &out, inner)
    }
    if let indentation, !elements.isEmpty {
      out += "\n" + String(repeating: " ", count: indentation)
    }
    out += close
  }

  private static func write(_ text: String, into out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\t": out += "\\t"
      case "\r": out += "\\r"
      default:
        // DEL and C1 are legal in JSON, and control terminals.
        if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
          let digits = String(scalar.value, radix: 16)
          out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          out.unicodeScalars.append(scalar)
        }
      }
    }
    out += "\""
  }
}
