/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into trouped, troupe and the dynamic launcher by tests: shifts their clocks and fails
   calls on chosen files. Everything here is what libc would do, unless the control file says
   otherwise. */
#define _GNU_SOURCE
#include "tests/fault/shim/control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* libc's headers give some of these functions attributes that a definition of ours trips over. */
#pragma GCC diagnostic ignored "-Wnonnull"
#pragma GCC diagnostic ignored "-Wnonnull-compare"

static struct troupe_fault_control* control; /* null: nothing is asked of this process */
static uint32_t this_program;

/* -- what libc has ----------------------------------------------------------------------------- */

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
#define SLOT(name) static void* real_##name

static void* real(void** slot, const char* name) {
  void* found = __atomic_load_n(slot, __ATOMIC_RELAXED);
  if (found == NULL) {
    /* Condition variables have an older version that a plain look-up may find. */
    if (strncmp(name, "pthread_cond_", 13) == 0)
      found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    if (found == NULL)
      found = dlsym(RTLD_NEXT, name);
    __atomic_store_n(slot, found, __ATOMIC_RELAXED);
  }
  return found;
}

static uint32_t program_of(const char* name) {
  if (strcmp(name, "trouped") == 0)
    return troupe_fault_trouped;
  if (strcmp(name, "troupe-launcher") == 0)
    return troupe_fault_launcher;
  if (strcmp(name, "troupe") == 0)
    return troupe_fault_client;
  if (strcmp(name, "troupe-shepherd") == 0)
    return troupe_fault_shepherd;
  return 0;
}

static uint32_t find_program(void) {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0)
    return 0;
  path[length] = '\0';
  const char* slash = strrchr(path, '/');
  return program_of(slash == NULL ? path : slash + 1);
}

__attribute__((constructor)) static void map_control(void) {
  const char* path = getenv(TROUPE_FAULT_VARIABLE);
  this_program = find_program();
  if (path == NULL || this_program == 0)
    return;
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0)
    return;
  void* at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  if (at != MAP_FAILED && ((struct troupe_fault_control*)at)->version == troupe_fault_version)
    __atomic_store_n(&control, at, __ATOMIC_RELEASE);
}

/* -- clocks ------------------------------------------------------------------------------------ */

static const int64_t second = 1000000000;

static int64_t shift_of(clockid_t id) {
  const struct troupe_fault_control* of = __atomic_load_n(&control, __ATOMIC_ACQUIRE);
  if (of == NULL || (__atomic_load_n(&of->clock_programs, __ATOMIC_RELAXED) & this_program) == 0)
    return 0;
  switch (id) {
  case CLOCK_REALTIME:
  case CLOCK_REALTIME_COARSE: return __atomic_load_n(&of->realtime_shift_ns, __ATOMIC_RELAXED);
  case CLOCK_MONOTONIC:
  case CLOCK_MONOTONIC_COARSE:
  case CLOCK_MONOTONIC_RAW:
  case CLOCK_BOOTTIME: return __atomic_load_n(&of->boottime_shift_ns, __ATOMIC_RELAXED);
  default: return 0;
  }
}

static struct timespec shifted(struct timespec at, int64_t by) {
  at.tv_sec += by / second;
  at.tv_nsec += by % second;
  if (at.tv_nsec >= second) {
    at.tv_nsec -= second;
    ++at.tv_sec;
  } else if (at.tv_nsec < 0) {
    at.tv_nsec += second;
    --at.tv_sec;
  }
  return at;
}

/* A point in shifted time as the kernel means it; never before its zero. */
static struct timespec to_kernel(clockid_t id, const struct timespec* at) {
  struct timespec result = shifted(*at, -shift_of(id));
  if (result.tv_sec < 0)
    result = (struct timespec){0, 1};
  return result;
}

SLOT(clock_gettime);
int clock_gettime(clockid_t id, struct timespec* at) {
  const int result = REAL(clock_gettime)(id, at);
  if (result == 0)
    *at = shifted(*at, shift_of(id));
  return result;
}

time_t time(time_t* to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != NULL)
    *to = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(struct timeval* to, void* zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to != NULL)
    *to = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

/* Waits until a point in time: the kernel's clock is the unshifted one. */
SLOT(pthread_cond_timedwait);
int pthread_cond_timedwait(pthread_cond_t* what, pthread_mutex_t* lock, const struct timespec* at) {
  const struct timespec until = to_kernel(CLOCK_REALTIME, at);
  return REAL(pthread_cond_timedwait)(what, lock, &until);
}

SLOT(pthread_cond_clockwait);
int pthread_cond_clockwait(pthread_cond_t* what, pthread_mutex_t* lock, clockid_t id,
                           const struct timespec* at) {
  const struct timespec until = to_kernel(id, at);
  return REAL(pthread_cond_clockwait)(what, lock, id, &until);
}

SLOT(pthread_mutex_timedlock);
int pthread_mutex_timedlock(pthread_mutex_t* lock, const struct timespec* at) {
  const struct timespec until = to_kernel(CLOCK_REALTIME, at);
  return REAL(pthread_mutex_timedlock)(lock, &until);
}

SLOT(pthread_mutex_clocklock);
int pthread_mutex_clocklock(pthread_mutex_t* lock, clockid_t id, const struct timespec* at) {
  const struct timespec until = to_kernel(id, at);
  return REAL(pthread_mutex_clocklock)(lock, id, &until);
}

SLOT(sem_timedwait);
int sem_timedwait(sem_t* what, const struct timespec* at) {
  const struct timespec until = to_kernel(CLOCK_REALTIME, at);
  return REAL(sem_timedwait)(what, &until);
}

SLOT(sem_clockwait);
int sem_clockwait(sem_t* what, clockid_t id, const struct timespec* at) {
  const struct timespec until = to_kernel(id, at);
  return REAL(sem_clockwait)(what, id, &until);
}

/* Which clock a timer's descriptor has; as many as a program of ours could open. */
enum { timers_max = 4096 };
static unsigned char timer_clocks[timers_max];

SLOT(timerfd_create);
int timerfd_create(clockid_t id, int flags) {
  const int fd = REAL(timerfd_create)(id, flags);
  if (fd >= 0 && fd < timers_max)
    timer_clocks[fd] = (unsigned char)id;
  return fd;
}

SLOT(timerfd_settime);
int timerfd_settime(int fd, int flags, const struct itimerspec* to, struct itimerspec* was) {
  const int absolute = (flags & TFD_TIMER_ABSTIME) != 0 && fd >= 0 && fd < timers_max &&
                       (to->it_value.tv_sec != 0 || to->it_value.tv_nsec != 0);
  if (!absolute)
    return REAL(timerfd_settime)(fd, flags, to, was);
  struct itimerspec until = *to;
  until.it_value = to_kernel(timer_clocks[fd], &to->it_value);
  return REAL(timerfd_settime)(fd, flags, &until, was);
}

/* -- which call fails ---------------------------------------------------------------------------
 */

/* The first rule that is on and speaks of this call, from `from` on; -1: none. */
static int next_rule(uint32_t call, int from) {
  const struct troupe_fault_control* of = __atomic_load_n(&control, __ATOMIC_ACQUIRE);
  for (int i = from; of != NULL && i < troupe_fault_rules; ++i) {
    const struct troupe_fault_rule* rule = &of->rules[i];
    if (__atomic_load_n(&rule->on, __ATOMIC_ACQUIRE) != 0 && (rule->calls & call) != 0 &&
        (rule->programs & this_program) != 0)
      return i;
  }
  return -1;
}

/* This matching call's turn: does it fail? */
static int takes_turn(struct troupe_fault_rule* rule) {
  __atomic_fetch_add(&rule->seen, 1, __ATOMIC_RELAXED);
  if (__atomic_load_n(&rule->skip, __ATOMIC_RELAXED) > 0 &&
      __atomic_fetch_sub(&rule->skip, 1, __ATOMIC_RELAXED) > 0)
    return 0;
  int64_t left = __atomic_load_n(&rule->count, __ATOMIC_RELAXED);
  do {
    if (left == 0)
      return 0;
  } while (left > 0 && !__atomic_compare_exchange_n(&rule->count, &left, left - 1, 0,
                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  __atomic_fetch_add(&rule->failed, 1, __ATOMIC_RELAXED);
  return 1;
}

/* The rule by which this call on that path fails, or null. */
static struct troupe_fault_rule* failing_path(uint32_t call, const char* path) {
  for (int i = next_rule(call, 0); i >= 0 && path != NULL; i = next_rule(call, i + 1)) {
    struct troupe_fault_rule* rule = &control->rules[i];
    if (fnmatch(rule->pattern, path, 0) == 0 && takes_turn(rule))
      return rule;
  }
  return NULL;
}

static struct troupe_fault_rule* failing_file(uint32_t call, int fd) {
  if (next_rule(call, 0) < 0)
    return NULL;
  char link[64];
  char path[PATH_MAX];
  const int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length <= 0)
    return NULL;
  path[length] = '\0';
  return failing_path(call, path);
}

/* A path that may be relative to a folder's descriptor. */
static struct troupe_fault_rule* failing_at(uint32_t call, int folder, const char* path) {
  if (next_rule(call, 0) < 0 || path == NULL)
    return NULL;
  if (path[0] == '/')
    return failing_path(call, path);
  char link[64] = "/proc/self/cwd";
  char whole[2 * PATH_MAX];
  const int before = errno;
  if (folder != AT_FDCWD)
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
  const ssize_t length = readlink(link, whole, PATH_MAX);
  errno = before;
  if (length <= 0)
    return NULL;
  snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
  return failing_path(call, whole);
}

static int failed(const struct troupe_fault_rule* rule) {
  errno = rule->error;
  return -1;
}

/* -- the calls ----------------------------------------------------------------------------------
 */

SLOT(write);
ssize_t write(int fd, const void* bytes, size_t size) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_write, fd);
  if (rule == NULL)
    return REAL(write)(fd, bytes, size);
  if (rule->partial > 0 && (size_t)rule->partial < size)
    return REAL(write)(fd, bytes, (size_t)rule->partial);
  return failed(rule);
}

SLOT(pwrite);
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_write, fd);
  if (rule == NULL)
    return REAL(pwrite)(fd, bytes, size, at);
  if (rule->partial > 0 && (size_t)rule->partial < size)
    return REAL(pwrite)(fd, bytes, (size_t)rule->partial, at);
  return failed(rule);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  return pwrite(fd, bytes, size, at);
}

SLOT(writev);
ssize_t writev(int fd, const struct iovec* parts, int count) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_write, fd);
  return rule == NULL ? REAL(writev)(fd, parts, count) : failed(rule);
}

SLOT(pwritev);
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_write, fd);
  return rule == NULL ? REAL(pwritev)(fd, parts, count, at) : failed(rule);
}

SLOT(read);
ssize_t read(int fd, void* to, size_t size) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_read, fd);
  return rule == NULL ? REAL(read)(fd, to, size) : failed(rule);
}

ssize_t __read_chk(int fd, void* to, size_t size, size_t room) {
  if (size > room)
    abort();
  return read(fd, to, size);
}

SLOT(readv);
ssize_t readv(int fd, const struct iovec* parts, int count) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_read, fd);
  return rule == NULL ? REAL(readv)(fd, parts, count) : failed(rule);
}

SLOT(pread);
ssize_t pread(int fd, void* to, size_t size, off_t at) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_read, fd);
  return rule == NULL ? REAL(pread)(fd, to, size, at) : failed(rule);
}

ssize_t pread64(int fd, void* to, size_t size, off64_t at) {
  return pread(fd, to, size, at);
}

ssize_t __pread_chk(int fd, void* to, size_t size, off_t at, size_t room) {
  if (size > room)
    abort();
  return pread(fd, to, size, at);
}

ssize_t __pread64_chk(int fd, void* to, size_t size, off64_t at, size_t room) {
  return __pread_chk(fd, to, size, at, room);
}

SLOT(fsync);
int fsync(int fd) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_sync, fd);
  return rule == NULL ? REAL(fsync)(fd) : failed(rule);
}

SLOT(fdatasync);
int fdatasync(int fd) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_sync, fd);
  return rule == NULL ? REAL(fdatasync)(fd) : failed(rule);
}

SLOT(syncfs);
int syncfs(int fd) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_sync, fd);
  return rule == NULL ? REAL(syncfs)(fd) : failed(rule);
}

SLOT(sync_file_range);
int sync_file_range(int fd, off64_t at, off64_t size, unsigned flags) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_sync, fd);
  return rule == NULL ? REAL(sync_file_range)(fd, at, size, flags) : failed(rule);
}

SLOT(ftruncate);
int ftruncate(int fd, off_t size) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_truncate, fd);
  return rule == NULL ? REAL(ftruncate)(fd, size) : failed(rule);
}

int ftruncate64(int fd, off64_t size) {
  return ftruncate(fd, size);
}

SLOT(truncate);
int truncate(const char* path, off_t size) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_truncate, AT_FDCWD, path);
  return rule == NULL ? REAL(truncate)(path, size) : failed(rule);
}

int truncate64(const char* path, off64_t size) {
  return truncate(path, size);
}

SLOT(fallocate);
int fallocate(int fd, int mode, off_t at, off_t size) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_truncate, fd);
  return rule == NULL ? REAL(fallocate)(fd, mode, at, size) : failed(rule);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
  return fallocate(fd, mode, at, size);
}

SLOT(posix_fallocate);
int posix_fallocate(int fd, off_t at, off_t size) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_truncate, fd);
  return rule == NULL ? REAL(posix_fallocate)(fd, at, size) : rule->error;
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
  return posix_fallocate(fd, at, size);
}

static const struct troupe_fault_rule* failing_names(int from_folder, const char* from,
                                                     int to_folder, const char* to) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_rename, from_folder, from);
  return rule != NULL ? rule : failing_at(troupe_fault_rename, to_folder, to);
}

SLOT(rename);
int rename(const char* from, const char* to) {
  const struct troupe_fault_rule* rule = failing_names(AT_FDCWD, from, AT_FDCWD, to);
  return rule == NULL ? REAL(rename)(from, to) : failed(rule);
}

SLOT(renameat);
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  const struct troupe_fault_rule* rule = failing_names(from_folder, from, to_folder, to);
  return rule == NULL ? REAL(renameat)(from_folder, from, to_folder, to) : failed(rule);
}

SLOT(renameat2);
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  const struct troupe_fault_rule* rule = failing_names(from_folder, from, to_folder, to);
  return rule == NULL ? REAL(renameat2)(from_folder, from, to_folder, to, flags) : failed(rule);
}

SLOT(link);
int link(const char* from, const char* to) {
  const struct troupe_fault_rule* rule = failing_names(AT_FDCWD, from, AT_FDCWD, to);
  return rule == NULL ? REAL(link)(from, to) : failed(rule);
}

SLOT(linkat);
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  const struct troupe_fault_rule* rule = failing_names(from_folder, from, to_folder, to);
  return rule == NULL ? REAL(linkat)(from_folder, from, to_folder, to, flags) : failed(rule);
}

SLOT(unlink);
int unlink(const char* path) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_unlink, AT_FDCWD, path);
  return rule == NULL ? REAL(unlink)(path) : failed(rule);
}

SLOT(unlinkat);
int unlinkat(int folder, const char* path, int flags) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_unlink, folder, path);
  return rule == NULL ? REAL(unlinkat)(folder, path, flags) : failed(rule);
}

SLOT(rmdir);
int rmdir(const char* path) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_unlink, AT_FDCWD, path);
  return rule == NULL ? REAL(rmdir)(path) : failed(rule);
}

SLOT(mkdir);
int mkdir(const char* path, mode_t mode) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_mkdir, AT_FDCWD, path);
  return rule == NULL ? REAL(mkdir)(path, mode) : failed(rule);
}

SLOT(mkdirat);
int mkdirat(int folder, const char* path, mode_t mode) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_mkdir, folder, path);
  return rule == NULL ? REAL(mkdirat)(folder, path, mode) : failed(rule);
}

/* All that open lead here; a mode that nobody gave is not looked at by the kernel either. */
static int open_file(int folder, const char* path, int flags, mode_t mode) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_open, folder, path);
  if (rule != NULL)
    return failed(rule);
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN_WITH_MODE(folder, path, flags)                                                        \
  va_list rest;                                                                                    \
  va_start(rest, flags);                                                                           \
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;             \
  va_end(rest);                                                                                    \
  return open_file(folder, path, flags, mode)

int open(const char* path, int flags, ...) {
  OPEN_WITH_MODE(AT_FDCWD, path, flags);
}
int open64(const char* path, int flags, ...) {
  OPEN_WITH_MODE(AT_FDCWD, path, flags);
}
int openat(int folder, const char* path, int flags, ...) {
  OPEN_WITH_MODE(folder, path, flags);
}
int openat64(int folder, const char* path, int flags, ...) {
  OPEN_WITH_MODE(folder, path, flags);
}
int __open_2(const char* path, int flags) {
  return open_file(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char* path, int flags) {
  return open_file(AT_FDCWD, path, flags, 0);
}
int __openat_2(int folder, const char* path, int flags) {
  return open_file(folder, path, flags, 0);
}
int __openat64_2(int folder, const char* path, int flags) {
  return open_file(folder, path, flags, 0);
}
int creat(const char* path, mode_t mode) {
  return open_file(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char* path, mode_t mode) {
  return creat(path, mode);
}

SLOT(fopen);
FILE* fopen(const char* path, const char* mode) {
  const struct troupe_fault_rule* rule = failing_at(troupe_fault_open, AT_FDCWD, path);
  if (rule == NULL)
    return REAL(fopen)(path, mode);
  errno = rule->error;
  return NULL;
}

FILE* fopen64(const char* path, const char* mode) {
  return fopen(path, mode);
}

SLOT(splice);
ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_splice, to);
  return rule == NULL ? REAL(splice)(from, from_at, to, to_at, size, flags) : failed(rule);
}

SLOT(copy_file_range);
ssize_t copy_file_range(int from, off64_t* from_at, int to, off64_t* to_at, size_t size,
                        unsigned flags) {
  const struct troupe_fault_rule* rule = failing_file(troupe_fault_splice, to);
  return rule == NULL ? REAL(copy_file_range)(from, from_at, to, to_at, size, flags) : failed(rule);
}
