// SPDX-License-Identifier: GPL-2.0
// Containers often have no kernel keyrings.

internal import BcachefsIO
internal import BcachefsSupport

/// Whether a key that is put into a keyring here is found again.
public let hasKeyring: Bool = {
  let name = "bcachefs:test-\(UInt64.random(in: 0...UInt64.max))"
  var random = RandomSource.system
  let key = EncryptionKey(using: &random)
  guard (try? KernelKeyring.user.add(key, description: name)) != nil else { return false }
  defer { KernelKeyring.user.remove(described: name) }
  return KernelKeyring.key(described: name)?.isEqual(to: key) ?? false
}()
