// SPDX-License-Identifier: GPL-2.0
// Builds a complete volume from a directory in one pass over its data.
//
// How it works
//   1. The source is surveyed: how much there is decides the size of an image that is to fit.
//   2. Superblocks and journal get their buckets; from there on buckets are handed out upwards.
//   3. Scanner, readers and assembler (BuildItem.swift) turn the tree into extents, inodes, dirents
//      and xattrs: btree nodes are written as they fill.
//   4. The few keys of subvolumes and snapshots follow, then the btrees that describe where
//      everything is (AllocationTables.swift).
//   5. The end of the devices is settled, and the superblocks are written last: until then nothing
//      on the devices looks like a volume.
// Invariants
//   (1) The bytes of a volume depend on the source, the options, the UUIDs and the time given,
//       never on the number of workers.
//   (2) A volume is complete when its first superblock is there.
// Threads: the caller's does scanning, assembling and writing; `workers` read and encode.
// Source: recovery.c (bch2_fs_initialize), sb-clean.c (bch2_fs_mark_clean): what an initialised and
// cleanly unmounted volume has.

public import BcachefsFormat
public import BcachefsIO
public import BcachefsSupport

/// What to build.
public struct ImageBuildRequest: Sendable {
  /// The directory whose contents become the volume's root.
  public var sourcePath: String
  /// Options, devices, encryption of the new volume.
  public var format: VolumeFormat
  /// The devices end where the volume does; their `byteCount` in `format` is not looked at.
  public var fitsDevices: Bool
  /// Threads that read and encode.
  public var workers = 2
  /// The same input gives the same bytes: times are the modification times, hash seeds follow from
  /// the UUID.
  public var isReproducible = false
  /// Where intermediate results go when they get large.
  public var temporaryDirectory: String?
  /// Files that are left out where the source has them: the images themselves.
  public var excluded: Set<HostFileIdentity> = []

  /// A build with everything else as it usually is.
  public init(sourcePath: String, format: VolumeFormat, fitsDevices: Bool) {
    self.sourcePath = sourcePath
    self.format = format
    self.fitsDevices = fitsDevices
  }
}

/// What was built.
public struct ImageBuildResult: Sendable {
  /// As it was written, but for device index and layout.
  public let superblock: Superblock
  /// What went into the volume.
  public let progress: BuildProgress
  /// Bytes of each device.
  public let deviceBytes: [UInt64]
  /// What the source has and a volume cannot keep, a line each.
  public let warnings: [String]
}

/// Makes a complete volume from a directory, as the driver leaves it after a clean unmount.
///
/// `build` may be called once. The source is read once, and must not change meanwhile.
public struct ImageBuilder {
  private let request: ImageBuildRequest
  private var random: RandomSource
  private let report: (BuildProgress) -> Void
  private let isCancelled: () -> Bool

  /// - Parameters:
  ///   - random: Where UUIDs and seeds come from; a seeded source for a build to be repeated.
  ///   - report: Called now and then on the calling thread.
  ///   - isCancelled: Asked now and then; true ends the build with `.cancelled`.
  public init(
    _ request: ImageBuildRequest, random: RandomSource,
    report: @escaping (BuildProgress) -> Void = { _ in },
    isCancelled: @escaping () -> Bool = { false }
  ) {
    self.request = request
    self.random = random
    self.report = report
    self.isCancelled = isCancelled
  }

  /// Builds the volume on `devices`.
  ///
  /// - Parameter devices: In the order of the format's, opened for writing; image files that are to
  ///   fit are resized.
  /// - Throws: `ImageError`; the devices then hold no volume, whatever else they hold.
  public mutating func build(on devices: [BlockDevice]) throws(ImageError) -> ImageBuildResult {
    invariant(devices.count == request.format.devices.count, "every device has its format")
    let tree = try readingHost { () throws(HostError) in try HostTree(request.sourcePath) }
    var format = request.format
    // The hash type and block size do not depend on the geometry that the survey is to decide.
    let surveyor = TreeScanner(
      tree: tree, parameters: scannerParameters(format, hashSeed: 0, partBytes: 1 << 20))
    let survey = try surveyor.runSurvey(isCancelled: isCancelled)
    if request.fitsDevices { estimateDevices(&format, survey, devices) }
    var volume: FormattedVolume
    do throws(VolumeFormatError) {
      try format.settleGeometry()
      volume = try format.makeVolume(random: &random)
    } catch {
      throw .invalidOptions(error.description)
    }
    var construction = try VolumeConstruction(
      format: format, volume: volume, devices: devices, fitsDevices: request.fitsDevices,
      temporaryDirectory: request.temporaryDirectory, random: &random)
    let scanner = TreeScanner(
      tree: tree, survey: surveyor,
      parameters: scannerParameters(
        format, hashSeed: construction.hashSeed, partBytes: construction.partBytes))
    let warnings = try run(scanner, survey, &construction)
    let progress = construction.progress
    try construction.finish(into: &volume)
    return ImageBuildResult(
      superblock: volume.superblock(forDevice: 0), progress: progress,
      deviceBytes: devices.map(\.byteCount), warnings: warnings)
  }

  private func scannerParameters(
    _ format: VolumeFormat, hashSeed: UInt64, partBytes: Int
  ) -> TreeScanner.Parameters {
    let option = StringHashOption(rawValue: UInt8(format.options[.strHash]))
    return TreeScanner.Parameters(
      hashType: option.type(newSiphash: true) ?? .siphash, hashSeed: hashSeed,
      timeBase: UInt64(bitPattern: format.timeNanoseconds),
      isReproducible: request.isReproducible, blockBytes: Int(format.options[.blockSize]),
      partBytes: partBytes, excluded: Set(request.excluded.map(HostFileID.init)))
  }

  /// Scanner, readers, assembler: see BuildItem.swift.
  private func run(
    _ scanner: TreeScanner, _ survey: SourceSurvey, _ construction: inout VolumeConstruction
  ) throws(ImageError) -> [String] {
    let parameters = construction.dataParameters
    let readers = (0..<max(request.workers, 1)).map { _ in
      BatchReader(data: parameters, xattrs: XattrEncoder())
    }
    let pool = WorkerPool(workers: readers.count)
    let assembler = construction.assembler
    var warnings: [String] = []
    try pool.orderedMap(
      window: 4 * readers.count
    ) { () throws(ImageError) -> BuildBatch? in
      if isCancelled() { throw .cancelled }
      return try scanner.nextBatch()
    } transform: { (batch, worker) throws(ImageError) -> BuildBatch in
      readers[worker].fill(batch)
      return batch
    } consume: { (batch) throws(ImageError) in
      try assembler.consume(batch)
      warnings.append(contentsOf: batch.warnings)
      var progress = assembler.progress
      progress.totalInodes = survey.inodeCount
      progress.totalBytes = survey.dataBytes
      report(progress)
    }
    return warnings
  }

  // MARK: - Size

  /// Gives devices that are to fit a size that surely suffices: they are cut to what was used in
  /// the end, and the files are sparse until then.
  private func estimateDevices(
    _ format: inout VolumeFormat, _ survey: SourceSurvey, _ devices: [BlockDevice]
  ) {
    let options = format.options
    let dataReplicas = max(options[.dataReplicas], 1)
    let metadataReplicas = max(options[.metadataReplicas], 1)
    let chunk = max(options[.encodedExtentMax], 4096)
    // Keys of one inode with its name, and of one extent with its backpointer, generously.
    let metadata =
      survey.inodeCount * 1024 + survey.nameBytes * 2 + survey.dataBytes / chunk * 512
    let perDevice =
      (survey.dataBytes * dataReplicas + metadata * metadataReplicas) / UInt64(devices.count)
    let bytes = perDevice + perDevice / 4 + (64 << 20)
    for index in format.devices.indices {
      // Large buckets have a least size of the device, whatever goes in.
      let atLeast = VolumeFormat.minBucketCount * (format.devices[index].bucketBytes ?? 0)
      format.devices[index].byteCount = bytes + atLeast
    }
  }
}
