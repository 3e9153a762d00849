// SPDX-License-Identifier: GPL-2.0
// Whole volumes, changed in all ways, opened, listed, read and exported.
//
// How it works
//   A case picks a base and changes a copy of it (VolumeMutator), opens what is left of its
//   devices, and asks for all that can be asked (VolumeContents).
// Invariants
//   (1) No trap (CurrentCase says which case it was), `secondsMax` of processor time a case, and no
//       more than `memoryMax` bytes beyond what the bases take.
//   (2) Where only damage was done, and checksums cover it: what is read without an error is what
//       the good volume has. Exceptions, each as narrow as what causes it:
//         - no checksums for metadata: anything may be read;
//         - no checksums for contents: bytes of files may be others;
//         - a volume that was not unmounted, whose journal (or what says where that is) is damaged:
//           the end of a journal cannot be told from a crash there, so an older state may be read.

internal import Bcachefs
internal import BcachefsFormat
internal import BcachefsIO
internal import BcachefsSupport

#if canImport(Glibc)
internal import Glibc
#endif

final class ImageFuzzer: Fuzzer {
  private static let secondsMax: UInt64 = 5
  private static let memoryMax = 768 << 20

  private let bases: [BaseVolume]
  private let memoryLimit: Int
  private var openedCount = 0
  private var damagedCount = 0
  private var comparedCount = 0
  private var slowest: UInt64 = 0

  var summary: String? {
    "\(openedCount) opened, \(damagedCount) with damage, \(comparedCount) compared; "
      + "the slowest took \(slowest / 1_000_000) ms, all at most \(ProcessUse.peakBytes >> 20) MiB"
  }

  /// - Parameter isStored: Volumes of the corpus, not built ones.
  init(_ corpus: Corpus, isStored: Bool) throws(FuzzFailure) {
    if isStored {
      bases = try BaseVolumes.stored(corpus, in: nil)
    } else if let folder = corpus.imagesPath {
      bases = try BaseVolumes.stored(corpus, in: folder)
    } else {
      bases = try BaseVolumes.built()
    }
    try check(!bases.isEmpty, "no volumes")
    memoryLimit = ProcessUse.resetPeak() + Self.memoryMax
  }

  func run(_ random: inout Xoshiro256) throws(FuzzFailure) {
    let start = ProcessUse.nanoseconds
    let base = random.pick(bases)
    var volume = MutatedVolume(of: base)
    volume.mutate(&random)
    let about = "\(base.name), \(volume.story.joined(separator: "; "))"
    do throws(FuzzFailure) {
      try read(volume, of: base, &random)
    } catch {
      throw FuzzFailure("\(about): \(error)")
    }
    let nanoseconds = ProcessUse.nanoseconds - start
    slowest = max(slowest, nanoseconds)
    let seconds = nanoseconds / 1_000_000_000
    try check(seconds < Self.secondsMax, "\(about): \(seconds) seconds")
    let peak = ProcessUse.peakBytes
    try check(peak < memoryLimit, "\(about): \(peak >> 20) MiB of memory")
  }

  private func read(
    _ mutated: MutatedVolume, of base: BaseVolume, _ random: inout Xoshiro256
  ) throws(FuzzFailure) {
    var options = VolumeOptions()
    var devices = try BaseVolume.open(mutated.devices)
    if devices.count > 1, random.oneIn(4) { devices.remove(at: random.below(devices.count)) }
    if random.oneIn(2) { options[.degraded] = 1 }
    if random.oneIn(4) { options[.veryDegraded] = 1 }
    if random.oneIn(8) { options[.noSplitbrainCheck] = 1 }
    let chosen = options
    let cacheBytes = random.oneIn(4) ? 0 : 32 << 20
    let opened = mayFail { () throws(VolumeError) in
      try Volume.open(devices: devices, options: chosen, cacheBytes: cacheBytes)
    }
    guard let opened else { return }
    openedCount += 1
    let contents = VolumeContents(
      reading: opened, random: Xoshiro256(seed: random.next()), thoroughly: random.oneIn(8))
    try contents.examineRest()
    for line in opened.damage + opened.warnings + contents.problems {
      try checkText(line, "a message")
    }
    if !opened.damage.isEmpty || !contents.problems.isEmpty { damagedCount += 1 }
    guard !mutated.isLie, base.checksMetadata, base.isClean || !mutated.touchesJournal else {
      return
    }
    comparedCount += 1
    try contents.compare(with: base.contents, checksData: base.checksData)
  }
}

/// What this process takes.
enum ProcessUse {
  /// Processor time of all threads.
  static var nanoseconds: UInt64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// The most memory that was in use since `resetPeak`.
  static var peakBytes: Int {
    var usage = rusage()
    _ = unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
  }

  /// Makes what is in use now the peak; where the kernel cannot, it stays as it is.
  static func resetPeak() -> Int {
    let descriptor = unsafe open("/proc/self/clear_refs", O_WRONLY)
    if descriptor >= 0 {
      _ = unsafe write(descriptor, "5", 1)
      _ = close(descriptor)
    }
    return peakBytes
  }
}
