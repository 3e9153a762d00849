internal import BcachefsFormat
internal import BcachefsSupport
final class JournalOverlay: Sendable {
  func lowerBound(btree: BTreeID, level: Int, position: BPos) -> Int { 0 }
  func position(at: Int, btree: BTreeID, level: Int) -> BPos? { nil }
  func reference(at: Int) -> KeyReference { fatalError() }
}
struct JournalReader {
  struct Contents { let roots: [BTreeID: BTreeRoot]; let overlay: JournalOverlay?; let isBlacklisted: @Sendable (UInt64) -> Bool }
  static func read(_ media: VolumeMedia) throws(VolumeError) -> Contents {
    var roots: [BTreeID: BTreeRoot] = [:]
    guard let clean = media.superblock.section(of: CleanSection.self) else { throw VolumeError(.corrupt, "no clean") }
    for entry in clean.entries where entry.type == .btreeRoot {
      let b = HeapBuffer(byteCount: entry.payload.count)
      var m = b.mutableBytes
      m.copy(entry.payload.rawBytes, to: 0)
      let key = BKey(uncheckedUnpacked: b.bytes, at: 0)
      roots[entry.btreeID] = BTreeRoot(btree: entry.btreeID, level: Int(entry.level), pointer: KeyReference(key: key, storage: b, valueStart: 40))
    }
    return Contents(roots: roots, overlay: nil, isBlacklisted: { _ in false })
  }
}
