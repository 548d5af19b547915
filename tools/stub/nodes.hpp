// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// The nodes of a job as its environment tells them: TROUPE_NODELIST "node1,node2" and
// TROUPE_TASKS_PER_NODE "4(x2),3". Freestanding, as all of the stub.

namespace troupe::stub {

/// Walks both texts side by side.
class node_reader {
public:
  node_reader(const char* names, const char* tasks_text) : names_{names}, tasks_{tasks_text} {}

  /// The next node with its tasks; false at the end, or where the texts do not fit each other.
  bool next() {
    if (names_ == nullptr || tasks_ == nullptr || *names_ == '\0')
      return false;
    if (repeat_ == 0 && !take_tasks())
      return false;
    --repeat_;
    name = names_;
    name_bytes = std::strcspn(names_, ",");
    names_ += name_bytes;
    if (*names_ == ',')
      ++names_;
    return name_bytes != 0;
  }

  bool is(const char* other) const {
    return std::strlen(other) == name_bytes && std::memcmp(name, other, name_bytes) == 0;
  }

  const char* name = nullptr;
  std::size_t name_bytes = 0;
  std::uint32_t tasks = 0;

private:
  static bool take_number(const char*& at, std::uint32_t& number) {
    const char* first = at;
    number = 0;
    for (; *at >= '0' && *at <= '9' && at - first < 9; ++at)
      number = number * 10 + static_cast<std::uint32_t>(*at - '0');
    return at != first;
  }

  bool take_tasks() {
    repeat_ = 1;
    if (!take_number(tasks_, tasks))
      return false;
    if (std::strncmp(tasks_, "(x", 2) == 0) {
      tasks_ += 2;
      if (!take_number(tasks_, repeat_) || repeat_ == 0 || *tasks_++ != ')')
        return false;
    }
    if (*tasks_ == ',')
      ++tasks_;
    return true;
  }

  const char* names_;
  const char* tasks_;
  std::uint32_t repeat_ = 0;
};

} // namespace troupe::stub
