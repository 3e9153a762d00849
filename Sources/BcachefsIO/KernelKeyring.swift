// SPDX-License-Identifier: GPL-2.0
// Keys in the kernel's keyrings, where one command leaves them for the next, and for the driver.
//
// Invariants
//   (1) Looking for a key changes no keyring: it is searched for, not requested.
//   (2) A key's bytes are only ever in memory that is wiped.

public import BcachefsSupport
internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// One of the process's keyrings.
public enum KernelKeyring: String, CaseIterable, Sendable {
  /// Of the login session.
  case session
  /// Of the user, for all sessions.
  case user
  /// What sessions without a keyring of their own use.
  case userSession = "user_session"

  private var number: Int32 {
    switch self {
    case .session: linux_keyring_session
    case .user: linux_keyring_user
    case .userSession: linux_keyring_user_session
    }
  }

  /// The key of type `user` with this description, from the first keyring that has it; nil when
  /// none does, it is not 32 bytes, or there are no keyrings (in many containers).
  public static func key(described description: String) -> EncryptionKey? {
    for keyring in allCases {
      if let key = keyring.key(described: description) { return key }
    }
    return nil
  }

  /// The key with this description in this keyring.
  public func key(described description: String) -> EncryptionKey? {
    var number: Int32 = 0
    guard unsafe linux_key_find(self.number, description, &number) == 0 else { return nil }
    let buffer = AlignedBuffer(byteCount: EncryptionKey.byteCount)
    defer { unsafe wipe(buffer.unsafeBytes) }
    var count = 0
    let failure = unsafe linux_key_read(
      number, buffer.unsafeBytes.baseAddress, buffer.byteCount, &count)
    guard failure == 0, count == EncryptionKey.byteCount else { return nil }
    return EncryptionKey(copying: buffer.bytes)
  }

  /// Puts a key into this keyring, in the place of one with the same description.
  ///
  /// - Throws: `.system`, among others where a container forbids it.
  public func add(_ key: EncryptionKey, description: String) throws(DeviceError) {
    var buffer = AlignedBuffer(byteCount: EncryptionKey.byteCount)
    defer { unsafe wipe(buffer.unsafeBytes) }
    var span = buffer.mutableBytes
    key.copyBytes(into: &span)
    let failure = unsafe linux_key_add(
      number, description, buffer.unsafeBytes.baseAddress, buffer.byteCount)
    guard failure == 0 else {
      throw DeviceError(.addKey, .system(failure), device: "the \(rawValue) keyring")
    }
  }

  /// Takes the key with this description out of this keyring.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  public func remove(described description: String) -> Bool {
    var number: Int32 = 0
    guard unsafe linux_key_find(self.number, description, &number) == 0 else { return false }
    return linux_key_unlink(self.number, number) == 0
  }
}
