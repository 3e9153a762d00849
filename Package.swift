// swift-tools-version: 6.2
import PackageDescription

/// One list of settings for every target: what the compiler can enforce, it enforces.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableExperimentalFeature("Lifetimes"),
]

/// The leaves and the engine: exclusivity is proven in debug builds and by the fuzzers; in release
/// builds its dynamic checks cost more than the reads they guard.
let hotSettings: [SwiftSetting] =
  settings + [
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
  ]

/// Tests and fuzzers run with the expensive checks of every invariant.
let testSettings: [SwiftSetting] = settings

func systemLibrary(_ name: String, pkgConfig: String, apt: String) -> Target {
  .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let package = Package(
  name: "swift-bcachefs",
  products: [
    .executable(name: "bcachefs", targets: ["BcachefsProgram"]),
    .executable(name: "bcachefs-fuzz", targets: ["BcachefsFuzz"]),
    .library(name: "Bcachefs", targets: ["Bcachefs"]),
    .library(name: "BcachefsFormat", targets: ["BcachefsFormat"]),
    .library(name: "BcachefsSupport", targets: ["BcachefsSupport"]),
  ],
  targets: [
    systemLibrary("CISAL", pkgConfig: "libisal", apt: "libisal-dev"),
    systemLibrary("CXXHash", pkgConfig: "libxxhash", apt: "libxxhash-dev"),
    systemLibrary("CLZ4", pkgConfig: "liblz4", apt: "liblz4-dev"),
    systemLibrary("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
    systemLibrary("CDeflate", pkgConfig: "libdeflate", apt: "libdeflate-dev"),
    systemLibrary("CSodium", pkgConfig: "libsodium", apt: "libsodium-dev"),
    systemLibrary("CBlkid", pkgConfig: "blkid", apt: "libblkid-dev"),
    systemLibrary("CFUSE", pkgConfig: "fuse3", apt: "libfuse3-dev"),
    .target(name: "CLinuxShims"),
    .target(
      name: "BcachefsSupport",
      dependencies: ["CISAL", "CXXHash", "CLZ4", "CZstd", "CDeflate", "CSodium"],
      swiftSettings: hotSettings),
    .target(
      name: "BcachefsFormat",
      dependencies: ["BcachefsSupport"],
      swiftSettings: hotSettings),
    .target(
      name: "BcachefsIO",
      dependencies: ["BcachefsSupport", "CBlkid", "CLinuxShims"],
      swiftSettings: hotSettings),
    .target(
      name: "Bcachefs",
      dependencies: ["BcachefsFormat", "BcachefsIO", "BcachefsSupport"],
      swiftSettings: hotSettings),
    .target(
      name: "BcachefsFUSE",
      dependencies: ["Bcachefs", "BcachefsFormat", "BcachefsIO", "BcachefsSupport", "CFUSE"],
      swiftSettings: hotSettings),
    .target(
      name: "BcachefsCommand",
      dependencies: [
        "Bcachefs", "BcachefsFUSE", "BcachefsFormat", "BcachefsIO", "BcachefsSupport",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "BcachefsProgram", dependencies: ["BcachefsCommand"], swiftSettings: settings),
    .executableTarget(
      name: "BcachefsFuzz",
      dependencies: [
        "Bcachefs", "BcachefsCommand", "BcachefsFormat", "BcachefsIO", "BcachefsSupport",
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "ReadVolume",
      dependencies: ["Bcachefs", "BcachefsFormat", "BcachefsSupport"],
      path: "Examples/ReadVolume",
      swiftSettings: settings),
    .target(name: "CTestSupport", path: "Tests/CTestSupport"),
    .target(
      name: "TestSupport",
      dependencies: ["BcachefsFormat", "BcachefsIO", "BcachefsSupport", "CTestSupport"],
      path: "Tests/TestSupport",
      swiftSettings: testSettings),
    .target(
      name: "FileModel", dependencies: ["Bcachefs", "BcachefsFormat", "BcachefsSupport"],
      path: "Tests/FileModel",
      swiftSettings: testSettings),
    .testTarget(
      name: "SupportTests", dependencies: ["BcachefsSupport", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "FormatTests", dependencies: ["BcachefsFormat", "BcachefsSupport", "TestSupport"],
      resources: [.copy("Golden")],
      swiftSettings: testSettings),
    .testTarget(
      name: "IOTests",
      dependencies: ["BcachefsIO", "BcachefsSupport", "CLinuxShims", "TestSupport"],
      swiftSettings: testSettings),
    .testTarget(
      name: "EngineTests",
      dependencies: [
        "Bcachefs", "BcachefsCommand", "BcachefsFormat", "BcachefsIO", "BcachefsSupport",
        "FileModel", "TestSupport",
      ],
      swiftSettings: testSettings),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "BcachefsProgram", "BcachefsFormat", "BcachefsIO", "BcachefsSupport", "ReadVolume",
        "TestSupport",
      ],
      swiftSettings: testSettings),
    .testTarget(
      name: "FUSETests",
      dependencies: [
        "Bcachefs", "BcachefsProgram", "BcachefsFUSE", "BcachefsFormat", "TestSupport",
      ],
      swiftSettings: testSettings),
    .testTarget(
      name: "KernelTests",
      dependencies: [
        "Bcachefs", "BcachefsCommand", "BcachefsFormat", "BcachefsIO", "BcachefsSupport",
        "FileModel", "TestSupport",
      ],
      exclude: ["guest"],
      swiftSettings: testSettings),
    .testTarget(name: "TidyTests", dependencies: ["TestSupport"], swiftSettings: testSettings),
  ]
)
