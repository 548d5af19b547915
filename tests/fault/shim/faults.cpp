// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/shim/faults.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace troupe::test {

namespace {

[[noreturn]] void refuse(const std::string& doing) {
  throw std::system_error{errno, std::generic_category(), "fault control: " + doing};
}

template <class T>
void set(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELEASE);
}

template <class T>
T get(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_ACQUIRE);
}

} // namespace

faults::faults() {
  char path[] = "/tmp/troupe-faults-XXXXXX";
  const int fd = ::mkostemp(path, O_CLOEXEC);
  if (fd < 0)
    refuse("making a file in /tmp");
  path_ = path;
  void* at = MAP_FAILED;
  if (::ftruncate(fd, sizeof(troupe_fault_control)) == 0)
    at = ::mmap(nullptr, sizeof(troupe_fault_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED)
    refuse("mapping " + path_);
  control_ = static_cast<troupe_fault_control*>(at);
  set(control_->version, std::uint32_t{troupe_fault_version});
}

faults::~faults() {
  clear();
  ::munmap(control_, sizeof *control_);
  ::unlink(path_.c_str());
}

int faults::fail(const fault_rule& rule) {
  if (rule.path.size() >= troupe_fault_pattern_bytes)
    throw std::invalid_argument{"fault control: the pattern is too long: " + rule.path};
  for (int i = 0; i < troupe_fault_rules; ++i) {
    auto& to = control_->rules[i];
    if (get(to.on) != 0)
      continue;
    to = {};
    to.calls = rule.calls;
    to.programs = rule.programs;
    to.error = rule.error;
    to.skip = rule.skip;
    to.count = rule.count;
    to.partial = rule.partial;
    rule.path.copy(to.pattern, rule.path.size());
    set(to.on, 1U);
    return i;
  }
  throw std::length_error{"fault control: all rules are in use"};
}

void faults::pass(int rule) {
  set(control_->rules[rule].on, 0U);
}

void faults::clear() {
  for (auto& rule : control_->rules)
    set(rule.on, 0U);
  set(control_->clock_programs, 0U);
}

std::uint64_t faults::seen(int rule) const {
  return get(control_->rules[rule].seen);
}

std::uint64_t faults::failed(int rule) const {
  return get(control_->rules[rule].failed);
}

void faults::shift_wall(std::chrono::nanoseconds by, std::uint32_t programs) {
  set(control_->realtime_shift_ns, std::int64_t{by.count()});
  set(control_->clock_programs, programs);
}

void faults::shift_boot(std::chrono::nanoseconds by, std::uint32_t programs) {
  set(control_->boottime_shift_ns, std::int64_t{by.count()});
  set(control_->clock_programs, programs);
}

std::vector<std::string> faults::environment() const {
  return {"LD_PRELOAD=" TROUPE_FAULT_SHIM, TROUPE_FAULT_VARIABLE "=" + path_};
}

std::string faults::programs() {
  return TROUPE_FAULT_PROGRAMS;
}

} // namespace troupe::test
