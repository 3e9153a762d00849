// SPDX-License-Identifier: GPL-2.0
// The entry point of `bcachefs`; everything else is in BcachefsCommand.

internal import BcachefsCommand

BcachefsCommand.main()
