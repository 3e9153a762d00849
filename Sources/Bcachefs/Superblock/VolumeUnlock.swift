// SPDX-License-Identifier: GPL-2.0
// The key of an encrypted volume: from a file, the kernel's keyring, or whoever can be asked.
//
// How it works
//   1. A passphrase file, if given, is the only source. Else the keyrings are searched for a key of
//      type `user` named `bcachefs:` and the volume's external UUID: what `unlock` leaves there,
//      and what the driver asks for. Else the passphrase is asked for, once.
//   2. What is in the keyring is the passphrase's key, 32 bytes of scrypt, not the volume's key.
// Invariants
//   (1) No key is ever text; a passphrase is only where the caller makes it so.
//   (2) Opening a volume changes no keyring.
// Source: c_src/crypto.c (`bch2_add_key`), checksum.c (`bch2_request_key`).

public import BcachefsFormat
public import BcachefsIO
internal import BcachefsSupport

/// Where the passphrase of an encrypted volume comes from.
public struct UnlockSource: Sendable {
  /// A file whose contents, without newlines at the end, are the passphrase. Nothing else is tried.
  public var passphraseFile: String?
  /// Whether keys that an earlier `unlock` left in the kernel's keyrings are used.
  public var usesKeyring: Bool
  /// Asks for the passphrase with a prompt; nil: nobody is there to answer.
  public var ask: (@Sendable (_ prompt: String) -> String?)?

  /// - Parameters:
  ///   - passphraseFile: A file with the passphrase; nothing else is tried then.
  ///   - usesKeyring: Whether keys of an earlier `unlock` are used.
  ///   - ask: Asks for the passphrase.
  public init(
    passphraseFile: String? = nil, usesKeyring: Bool = true,
    ask: (@Sendable (_ prompt: String) -> String?)? = nil
  ) {
    self.passphraseFile = passphraseFile
    self.usesKeyring = usesKeyring
    self.ask = ask
  }

  /// The keyring, and nothing else.
  public static let keyring = UnlockSource()
}

/// Keys of encrypted volumes in the kernel's keyrings.
public enum VolumeUnlock {
  /// Puts the key of a volume's passphrase where the next command, or the driver, looks for it.
  ///
  /// - Parameter source: A file or someone to ask; the keyring itself is not looked at.
  /// - Returns: The key's description in the keyring.
  /// - Throws: `.locked` for a wrong passphrase; `.wrongType` for a volume that needs none;
  ///   `.device` where there are no keyrings; what opening throws.
  @discardableResult
  public static func addKey(
    of sources: VolumeSources, from source: UnlockSource, to keyring: KernelKeyring = .user,
    options: VolumeOptions = VolumeOptions()
  ) throws(VolumeError) -> String {
    let lock = try VolumeLock(newestSuperblock(of: sources, options))
    guard lock.needsPassphrase else {
      throw VolumeError(.wrongType, "\(lock.name) needs no passphrase")
    }
    var fresh = source
    fresh.usesKeyring = false
    let passphraseKey = try lock.passphraseKey(from: fresh)
    do throws(DeviceError) {
      try keyring.add(passphraseKey, description: lock.keyDescription)
    } catch {
      throw VolumeError(error)
    }
    return lock.keyDescription
  }

  /// Whether a volume can be opened without asking.
  public enum State: String, Sendable {
    case notEncrypted = "has no encryption"
    /// The key stands in the superblock as it is.
    case keyIsPlain = "is encrypted and needs no passphrase"
    case locked = "is encrypted and locked"
    /// The key of its passphrase is in one of the kernel's keyrings.
    case unlocked = "is encrypted and unlocked"
  }

  /// Whether a volume is encrypted, and whether an earlier `unlock` left its key
  /// (`unlock --check`).
  ///
  /// - Throws: what opening throws.
  public static func state(
    of sources: VolumeSources, options: VolumeOptions = VolumeOptions()
  ) throws(VolumeError) -> State {
    try VolumeLock(newestSuperblock(of: sources, options)).state
  }

  /// Any member will do: all have the key.
  private static func newestSuperblock(
    of sources: VolumeSources, _ options: VolumeOptions
  ) throws(VolumeError) -> Superblock {
    let found = try VolumeDiscovery.devices(of: sources, options: options)
    return try VolumeAssembly(found, mayLeaveOut: true, options: options).superblock
  }
}

/// What a superblock says of its volume's key.
struct VolumeLock {
  private let superblock: Superblock
  private let section: CryptSection?

  /// - Throws: `.corrupt` for an encrypted volume without a key.
  init(_ superblock: Superblock) throws(VolumeError) {
    self.superblock = superblock
    section = superblock.section(of: CryptSection.self)
    guard section != nil || superblock[Superblock.Layout.encryptionType] == 0 else {
      throw VolumeError(
        .corrupt,
        "volume \(superblock.userUUID) is encrypted, but its superblock has no crypt section")
    }
  }

  /// How messages call the volume.
  var name: String {
    superblock.label.isEmpty
      ? "volume \(superblock.userUUID)"
      : "volume \(superblock.userUUID) (\(SafeText.text(superblock.label.name)))"
  }
  var keyDescription: String { "bcachefs:\(superblock.userUUID)" }
  var needsPassphrase: Bool { section?.isKeyEncrypted ?? false }

  var state: VolumeUnlock.State {
    guard let section else { return .notEncrypted }
    guard section.isKeyEncrypted else { return .keyIsPlain }
    guard let key = KernelKeyring.key(described: keyDescription) else { return .locked }
    return opens(key) ? .unlocked : .locked
  }

  /// The volume's key; nil for a volume that has none.
  ///
  /// - Throws: `.locked`, `.device` for an unreadable passphrase file.
  func key(from source: UnlockSource) throws(VolumeError) -> EncryptionKey? {
    guard let section else { return nil }
    let wrapping = section.isKeyEncrypted ? try passphraseKey(from: source) : nil
    do throws(EncryptionError) {
      return try section.storedKey.open(with: wrapping, superblockMagic: superblock.uuid.lo)
    } catch {
      throw VolumeError(error)
    }
  }

  /// The key that the passphrase stands for, known to be the right one.
  func passphraseKey(from source: UnlockSource) throws(VolumeError) -> EncryptionKey {
    if let path = source.passphraseFile {
      let file: SecretFile
      do throws(DeviceError) { file = try SecretFile(path: path) } catch {
        throw VolumeError(error)
      }
      let key = try derive(file.bytes)
      guard opens(key) else {
        throw VolumeError(.locked, "the passphrase in \(path) is not the one of \(name)")
      }
      return key
    }
    var note = ""
    if source.usesKeyring, let key = KernelKeyring.key(described: keyDescription) {
      if opens(key) { return key }
      note = "; the key \(keyDescription) in the kernel's keyring is a wrong one"
    }
    guard let ask = source.ask, let passphrase = ask("Enter passphrase: ") else {
      throw VolumeError(
        .locked,
        "\(name) is encrypted\(note); give its passphrase, a passphrase_file, or unlock it first")
    }
    let key = try derive(Array(passphrase.utf8).rawBytes)
    guard opens(key) else {
      throw VolumeError(.locked, "incorrect passphrase for \(name)\(note); try again")
    }
    return key
  }

  private func derive(_ passphrase: RawSpan) throws(VolumeError) -> EncryptionKey {
    guard let section else { throw VolumeError(.wrongType, "\(name) is not encrypted") }
    do throws(EncryptionError) {
      return try EncryptionKey(passphrase: passphrase, costs: section.costs)
    } catch {
      throw VolumeError(error)
    }
  }

  private func opens(_ key: EncryptionKey) -> Bool {
    guard let section else { return false }
    return (try? section.storedKey.open(with: key, superblockMagic: superblock.uuid.lo)) != nil
  }
}
