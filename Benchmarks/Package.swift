// swift-tools-version: 6.2
import PackageDescription

// Benchmarks are a package of their own: they need a C reference beside them, and nobody who
// depends on the library shall build them. `swift run -c release bcachefs-bench support`.

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableExperimentalFeature("Lifetimes"),
]

let package = Package(
  name: "bcachefs-benchmarks",
  dependencies: [.package(name: "swift-bcachefs", path: "..")],
  targets: [
    .target(
      name: "CReference",
      cSettings: [.unsafeFlags(["-O2"])],
      linkerSettings: ["isal", "xxhash", "lz4", "zstd", "z", "sodium", "lmdb", "sqlite3"].map {
        .linkedLibrary($0)
      }),
    .executableTarget(
      name: "bcachefs-bench",
      dependencies: [
        "CReference", .product(name: "Bcachefs", package: "swift-bcachefs"),
        .product(name: "BcachefsFormat", package: "swift-bcachefs"),
        .product(name: "BcachefsSupport", package: "swift-bcachefs"),
      ],
      path: "Sources/BcachefsBench",
      swiftSettings: settings),
  ]
)
