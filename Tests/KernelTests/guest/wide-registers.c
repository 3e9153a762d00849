// SPDX-License-Identifier: GPL-2.0
// Lets User-Mode Linux run where processors have more registers than it knows of.
//
// How it works
//   Linux 6.12 for ARCH=um keeps the extended state of a process in 2696 bytes: enough for AVX-512.
//   With AMX the host's state is larger, and the host refuses to set a part of it. Loaded before
//   the C library (LD_PRELOAD), this takes the place of ptrace: what is set is laid over the state
//   that the process has, whole.
// Source: arch/x86/um/os-Linux/registers.c; the host's xstateregs_set.

#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define STATE_BYTES_MAX 65536

static long host(long request, long pid, long address, long data)
{
	// For the requests that look, the system call stores where `data` says; glibc returns it.
	return syscall(SYS_ptrace, request, pid, address, data);
}

long ptrace(enum __ptrace_request request, ...)
{
	static __thread char state[STATE_BYTES_MAX] __attribute__((aligned(64)));
	va_list arguments;
	va_start(arguments, request);
	long pid = va_arg(arguments, long);
	long address = va_arg(arguments, long);
	long data = va_arg(arguments, long);
	va_end(arguments);

	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long word = 0;
		if (host(request, pid, address, (long)&word) < 0)
			return -1;
		errno = 0;
		return word;
	}
	if (request == PTRACE_SETREGSET && address == NT_X86_XSTATE) {
		const struct iovec *wanted = (const struct iovec *)data;
		struct iovec whole = { state, sizeof(state) };
		if (wanted->iov_len < sizeof(state) &&
		    host(PTRACE_GETREGSET, pid, address, (long)&whole) == 0 &&
		    whole.iov_len > wanted->iov_len) {
			memcpy(state, wanted->iov_base, wanted->iov_len);
			return host(request, pid, address, (long)&whole);
		}
	}
	return host(request, pid, address, data);
}
