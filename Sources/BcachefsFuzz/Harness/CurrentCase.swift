// SPDX-License-Identifier: GPL-2.0
// Which case is running, kept where a signal handler can find it: a trap says how to repeat itself.
//
// How it works
//   1. The runner writes fuzzer, seed and case number into plain memory before each case.
//   2. Handlers of SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT and SIGFPE print them and let the
//      signal kill the process; they run on a stack of their own: endless recursion is found too.
//   3. SIGPROF comes after every `hangSeconds` of processor time: a case that has run since the
//      last one is taken to hang. A busy machine changes nothing about that.
// Invariants
//   (1) A handler calls write, signal and raise only, and allocates nothing.

internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// The case that is running.
enum CurrentCase {
  static let hangSeconds = 5

  private static let seed = Atomic<UInt64>(0)
  private static let number = Atomic<UInt64>(0)
  /// The case that the last SIGPROF saw, plus one.
  private static let seen = Atomic<UInt64>(0)
  private static let isRunning = Atomic<Bool>(false)
  /// The running fuzzer's name, with a NUL behind it.
  private static let nameCapacity = 64
  // Safety: written between cases only, by the one thread that runs them.
  private nonisolated(unsafe) static let name: UnsafeMutablePointer<UInt8> = {
    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: nameCapacity)
    unsafe memory.initialize(repeating: 0, count: nameCapacity)
    return unsafe memory
  }()

  /// Says what is going to run.
  static func enter(_ fuzzer: String, seed newSeed: UInt64) {
    var index = 0
    for byte in fuzzer.utf8.prefix(nameCapacity - 1) {
      unsafe name[index] = byte
      index += 1
    }
    unsafe name[index] = 0
    seed.store(newSeed, ordering: .relaxed)
  }

  @inline(__always)
  static func start(_ newNumber: UInt64) {
    number.store(newNumber, ordering: .relaxed)
    isRunning.store(true, ordering: .relaxed)
  }

  static func leave() { isRunning.store(false, ordering: .relaxed) }

  /// Installs the handlers.
  static func watch() {
    unsafe name[0] = 0
    let stackBytes = 1 << 16
    var stack = unsafe stack_t()
    unsafe stack.ss_sp = UnsafeMutableRawPointer.allocate(byteCount: stackBytes, alignment: 16)
    unsafe stack.ss_size = stackBytes
    _ = unsafe sigaltstack(&stack, nil)
    for signal in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE] {
      install(signal) { number in CurrentCase.report(" stopped by signal ", UInt64(number), number)
      }
    }
    install(SIGPROF) { _ in CurrentCase.lookForHang() }
    let period = timeval(tv_sec: hangSeconds, tv_usec: 0)
    var timer = itimerval(it_interval: period, it_value: period)
    _ = unsafe setitimer(__itimer_which_t(ITIMER_PROF.rawValue), &timer, nil)
  }

  private static func install(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void)
  {
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = handler
    action.sa_flags = SA_ONSTACK
    _ = unsafe sigaction(number, &action, nil)
  }

  private static func lookForHang() {
    let now = number.load(ordering: .relaxed) &+ 1
    if isRunning.load(ordering: .relaxed), seen.load(ordering: .relaxed) == now {
      report(" does not end within seconds: ", UInt64(hangSeconds), SIGABRT)
    }
    seen.store(now, ordering: .relaxed)
  }

  /// Prints the case, then dies of `signal`.
  private static func report(_ what: StaticString, _ value: UInt64, _ deadly: Int32) {
    put("\nbcachefs-fuzz: case")
    put(what)
    put(value)
    put("\nrepeat: bcachefs-fuzz ")
    unsafe write(2, name, strlen(UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self)))
    put(" ")
    put(seed.load(ordering: .relaxed))
    put(" --case ")
    put(number.load(ordering: .relaxed))
    put("\n")
    signal(deadly, SIG_DFL)
    raise(deadly)
  }

  private static func put(_ text: StaticString) {
    _ = unsafe write(2, text.utf8Start, text.utf8CodeUnitCount)
  }

  private static func put(_ number: UInt64) {
    var rest = number
    var divisor: UInt64 = 1
    while rest / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      var digit = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / divisor)
      rest %= divisor
      divisor /= 10
      _ = unsafe write(2, &digit, 1)
    }
  }
}
