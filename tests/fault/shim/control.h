/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* The file by which a test tells the preloaded shim what to do: this struct, mapped by both. A zero
   is nothing to do. The test writes through faults.hpp; the shim reads a few words per call and
   counts. */

enum {
  troupe_fault_version = 1,
  troupe_fault_rules = 16,
  troupe_fault_pattern_bytes = 160,
};

/* Which calls a rule is about; bits of troupe_fault_rule.calls. */
enum {
  troupe_fault_write = 1 << 0,    /* write, writev, pwrite, pwritev: to the file of that path */
  troupe_fault_sync = 1 << 1,     /* fsync, fdatasync, sync_file_range, syncfs */
  troupe_fault_truncate = 1 << 2, /* ftruncate, truncate, fallocate, posix_fallocate */
  troupe_fault_rename = 1 << 3,   /* rename, renameat, renameat2, link, linkat: either name */
  troupe_fault_open = 1 << 4,     /* open, openat, creat, fopen */
  troupe_fault_read = 1 << 5,     /* read, readv, pread */
  troupe_fault_unlink = 1 << 6,   /* unlink, unlinkat, rmdir */
  troupe_fault_mkdir = 1 << 7,    /* mkdir, mkdirat */
  troupe_fault_splice = 1 << 8,   /* splice, sendfile, copy_file_range: the file written to */
};

/* Which programs obey; bits. The shim does nothing in any other: a job's processes carry it
 * unharmed. */
enum {
  troupe_fault_trouped = 1 << 0,
  troupe_fault_launcher = 1 << 1, /* the dynamic one beside the shim; the released one is static */
  troupe_fault_client = 1 << 2,   /* troupe */
  troupe_fault_shepherd = 1 << 3,
  troupe_fault_all = (1 << 4) - 1,
};

struct troupe_fault_rule {
  uint32_t on;       /* nonzero: holds; written last */
  uint32_t calls;    /* bits */
  uint32_t programs; /* bits */
  int32_t error;     /* errno of a failing call */
  int64_t skip;      /* so many matching calls pass first; counted down by the shim */
  int64_t count;     /* so many fail then, counted down by the shim; negative: all */
  uint64_t seen;     /* calls that matched */
  uint64_t failed;   /* of these, those that failed */
  int64_t partial;   /* a failing write or pwrite puts so many bytes down first, and answers their
                        number   where it is > 0: the next one fails */
  char pattern[troupe_fault_pattern_bytes]; /* fnmatch over the whole path */
};

struct troupe_fault_control {
  uint32_t version;
  uint32_t clock_programs;   /* bits: whose clocks are shifted */
  int64_t realtime_shift_ns; /* added to CLOCK_REALTIME */
  int64_t boottime_shift_ns; /* added to CLOCK_MONOTONIC and CLOCK_BOOTTIME: must only grow */
  struct troupe_fault_rule rules[troupe_fault_rules];
};

/* Where the file is. */
#define TROUPE_FAULT_VARIABLE "TROUPE_FAULT_CONTROL"
