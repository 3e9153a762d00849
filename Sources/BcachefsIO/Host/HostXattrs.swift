// SPDX-License-Identifier: GPL-2.0
// Extended attributes, of files of every kind.
//
// How it works
//   1. One call lists the names; a file without attributes costs no more. Where nothing is open,
//      the file is named relative to its directory: listxattrat, before Linux 6.13 through
//      /proc/self/fd. What is open is asked itself.
//   2. One call for each value, into a block that holds all but the rarest.
//   3. ACLs are attributes as all others: system.posix_acl_access and system.posix_acl_default.
// Invariants
//   (1) The result is sorted by name, and every name stands once in it.
//   (2) A filesystem without attributes gives none, and so does an attribute that goes while it
//       is read: the change time tells, see `HostFile.verifyUnchanged(since:)`.

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// An extended attribute; `name` has its namespace (`user.`, `trusted.`, `security.`, `system.`).
public struct HostXattr: Sendable, Equatable {
  public let name: [UInt8]
  public let value: [UInt8]

  public init(name: [UInt8], value: [UInt8]) {
    self.name = name
    self.value = value
  }
}

extension HostDirectory {
  /// The attributes of the child `name`, itself if it is a symbolic link, sorted by name.
  ///
  /// - Throws: `.vanished`, `.invalidName`, `.system`.
  /// - Complexity: a call, and one for each attribute.
  public func xattrs(of name: Span<UInt8>) throws(HostError) -> [HostXattr] {
    let result = unsafe withComponent(name) {
      unsafe readXattrs(descriptor.number, $0)
    }
    switch result {
    case .success(let xattrs): return xattrs
    case .failure(let failure):
      throw error(failure.operation, failure.reason, name, detail: failure.xattr)
    case nil: throw error(.listXattrs, .invalidName, name)
    }
  }

  /// The directory's own attributes, sorted by name.
  public func xattrs() throws(HostError) -> [HostXattr] {
    switch unsafe readXattrs(descriptor.number, "") {
    case .success(let xattrs): return xattrs
    case .failure(let failure):
      throw tree.error(failure.operation, failure.reason, path, detail: failure.xattr)
    }
  }
}

extension HostFile {
  /// The file's attributes, sorted by name. Cheaper than asking its directory.
  ///
  /// - Throws: `.system`.
  /// - Complexity: a call, and one for each attribute.
  public func xattrs() throws(HostError) -> [HostXattr] {
    switch unsafe readXattrs(descriptor.number, "") {
    case .success(let xattrs): return xattrs
    case .failure(let failure):
      throw error(failure.operation, failure.reason, detail: failure.xattr)
    }
  }
}

private struct XattrFailure: Error {
  let operation: HostError.Operation
  let reason: HostError.Reason
  var xattr: [UInt8] = []
}

/// First guess, for the names and for a value.
private let blockByteCountUsual = 1024
/// XATTR_LIST_MAX and XATTR_SIZE_MAX.
private let blockByteCountMax = 1 << 16

/// The attributes of `name` in `descriptor`, or of `descriptor` if the name is empty.
private func readXattrs(
  _ descriptor: Int32, _ name: UnsafePointer<CChar>
) -> Result<[HostXattr], XattrFailure> {
  let list: [UInt8]
  switch unsafe readBlock({ unsafe linux_xattr_list(descriptor, name, $0, $1) }) {
  case .success(let bytes): list = bytes
  case .failure(.system(EOPNOTSUPP)): return .success([])
  case .failure(let reason):
    return .failure(XattrFailure(operation: .listXattrs, reason: reason))
  }
  if list.isEmpty { return .success([]) }
  var xattrs: [HostXattr] = []
  for key in list.split(separator: 0) {
    let text = key.map { CChar(bitPattern: $0) } + [0]
    switch unsafe readBlock({ unsafe linux_xattr_get(descriptor, name, text, $0, $1) }) {
    case .success(let value): xattrs.append(HostXattr(name: Array(key), value: value))
    case .failure(.system(ENODATA)), .failure(.system(EOPNOTSUPP)): continue
    case .failure(let reason):
      return .failure(XattrFailure(operation: .readXattr, reason: reason, xattr: Array(key)))
    }
  }
  xattrs.sort { $0.name.lexicographicallyPrecedes($1.name) }
  return .success(xattrs)
}

/// What `call` fills, with a larger block if the usual one is too small.
private func readBlock(
  _ call: (UnsafeMutablePointer<CChar>, Int) -> Int64
) -> Result<[UInt8], HostError.Reason> {
  let first = unsafe readBlock(byteCount: blockByteCountUsual, call)
  guard case .failure(.system(ERANGE)) = first else { return first }
  return unsafe readBlock(byteCount: blockByteCountMax, call)
}

private func readBlock(
  byteCount: Int, _ call: (UnsafeMutablePointer<CChar>, Int) -> Int64
) -> Result<[UInt8], HostError.Reason> {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: byteCount) { buffer in
    guard let base = buffer.baseAddress else { return .failure(.system(ENOMEM)) }
    let count = unsafe Int(call(base, byteCount))
    if count < 0 { return .failure(.init(errno: Int32(-count))) }
    if count == 0 { return .success([]) }
    let bytes = unsafe UnsafeRawBufferPointer(start: base, count: min(count, byteCount))
    return unsafe .success(Array(bytes))
  }
}
