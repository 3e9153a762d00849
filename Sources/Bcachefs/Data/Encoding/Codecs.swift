// SPDX-License-Identifier: GPL-2.0
// The same compressions by two names: numbers of the format, and the algorithms behind them.

internal import BcachefsFormat
internal import BcachefsSupport

extension CompressionAlgorithm {
  /// The type that a crc entry names it by.
  var formatType: CompressionType {
    switch self {
    case .lz4: .lz4
    case .lz4Old: .lz4Old
    case .gzip: .gzip
    case .zstd: .zstd
    }
  }
}

extension CompressionOption {
  /// What compresses new data, nil for none.
  var codec: CompressionAlgorithm? {
    switch algorithm {
    case .lz4: .lz4
    case .gzip: .gzip
    case .zstd: .zstd
    default: nil
    }
  }
}
