// SPDX-License-Identifier: GPL-2.0
// Programs that are measured as a whole, and where their files go.

#if canImport(Glibc)
internal import Glibc
#endif

enum Program {
  /// The release build that is measured.
  static let bcachefs = ".build/release/bcachefs"

  /// Memory if there is such a place, so that no disk is measured.
  static let scratchFolder: String = {
    let base = unsafe access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
    return "\(base)/bcachefs-bench.\(getpid())"
  }()

  /// Ends with advice unless the release build is there.
  static func requireRelease() {
    guard unsafe access(bcachefs, X_OK) == 0 else {
      print("build it first: swift build -c release --product bcachefs (make bench does)")
      exit(1)
    }
  }

  /// Runs a program, silent, to its end.
  ///
  /// - Returns: its peak memory in MiB; nil if it is not there or fails.
  static func run(_ arguments: [String]) -> Int? {
    var actions = unsafe posix_spawn_file_actions_t()
    _ = unsafe posix_spawn_file_actions_init(&actions)
    defer { _ = unsafe posix_spawn_file_actions_destroy(&actions) }
    for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
      _ = unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
    }
    var pointers = unsafe [UnsafeMutablePointer<CChar>?]()
    for argument in arguments { unsafe pointers.append(strdup(argument)) }
    unsafe pointers.append(nil)
    defer { for index in arguments.indices { unsafe free(pointers[index]) } }
    var process = pid_t()
    guard unsafe posix_spawnp(&process, arguments[0], &actions, nil, pointers, environ) == 0 else {
      return nil
    }
    var (status, usage) = (Int32(0), rusage())
    guard unsafe wait4(process, &status, 0, &usage) == process, status == 0 else { return nil }
    return usage.ru_maxrss / 1024
  }

  /// Runs a program to its end, with variables beside this program's own.
  ///
  /// - Returns: what it printed; nil if it is not there or fails.
  static func output(_ arguments: [String], environment: [String: String]) -> String? {
    let file = "\(scratchFolder)/output"
    let settings = environment.map { "\($0.key)=\($0.value)" }
    let script = #"file=$1; shift; exec env "$@" >"$file""#
    guard run(["sh", "-c", script, "sh", file] + settings + arguments) != nil else { return nil }
    return contents(of: file)
  }

  /// The text of a small file, which may be one that the kernel makes up; nil if it is not there.
  static func contents(of path: String) -> String? {
    guard let stream = unsafe fopen(path, "r") else { return nil }
    defer { _ = unsafe fclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = unsafe fread(&bytes, 1, bytes.count, stream)
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  /// The most memory that this process has had so far.
  static var peakMemoryMiB: Int {
    var usage = rusage()
    _ = unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss / 1024
  }

  /// Bytes that this process has given to the kernel to be written.
  static var bytesWritten: UInt64 {
    let text = contents(of: "/proc/self/io") ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("wchar: ") }
    return line.flatMap { UInt64($0.dropFirst(7)) } ?? 0
  }

  /// Lets this process and those that it runs have more files open, if the system does.
  static func allowDescriptors(_ count: UInt) {
    var limit = rlimit(rlim_cur: count, rlim_max: count)
    _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  /// A variable of the environment; nil when it is not set, or empty.
  static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name), unsafe value.pointee != 0 else { return nil }
    return unsafe String(cString: value)
  }

  static func remove(_ path: String) { _ = run(["rm", "-rf", path]) }
}
