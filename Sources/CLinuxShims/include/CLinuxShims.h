// Constants and calls of Linux that Swift cannot import as they are.
#pragma once
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "host.h"
