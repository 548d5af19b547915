// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/shepherd.hpp"

#include <cstdlib>
#include <memory>
#include <pmix.h>
#include <pmix_server.h>
#include <string>
#include <utility>
#include <vector>

// Owners of what OpenPMIx allocates.

namespace troupe::pmix {

using process = shepherd::process_name;
using byte_vector = std::vector<std::uint8_t>;

inline constexpr std::uint32_t rank_wildcard = PMIX_RANK_WILDCARD;

struct free_memory {
  void operator()(void* memory) const { std::free(memory); }
};
/// A text the library made with malloc.
using c_text = std::unique_ptr<char, free_memory>;

/// A process as the library writes it.
class c_process {
public:
  explicit c_process(const process& from) {
    PMIX_LOAD_PROCID(&value_, from.nspace.c_str(), from.rank);
  }
  const pmix_proc_t* get() const { return &value_; }
  pmix_proc_t* get() { return &value_; }

private:
  pmix_proc_t value_{};
};

/// A list of infos: key and typed value.
class info_list {
public:
  info_list() = default;
  info_list(info_list&& other) noexcept : items_{std::exchange(other.items_, {})} {}
  info_list& operator=(info_list&& other) noexcept {
    std::swap(items_, other.items_);
    return *this;
  }
  info_list(const info_list&) = delete;
  info_list& operator=(const info_list&) = delete;
  ~info_list();

  void text(const char* key, const std::string& value);
  void flag(const char* key, bool value);
  void number(const char* key, std::uint32_t value);
  void small_number(const char* key, std::uint16_t value);
  void size_value(const char* key, std::size_t value);
  void whole_number(const char* key, int value);
  void rank(const char* key, std::uint32_t value);
  void status(const char* key, pmix_status_t value);
  void process_value(const char* key, const process& value);
  void processes(const char* key, const std::vector<process>& value);
  /// An array of infos as one value.
  void list(const char* key, info_list&& value);
  /// An array of pmix_proc_info_t as one value, which stays the caller's.
  void array(const char* key, pmix_data_array_t& value);
  /// Takes over an info that the library filled.
  void adopt(pmix_info_t value) { items_.push_back(value); }

  pmix_info_t* data() { return items_.data(); }
  std::size_t size() const { return items_.size(); }

private:
  void add(const char* key, const void* value, pmix_data_type_t type);
  std::vector<pmix_info_t> items_;
};

} // namespace troupe::pmix
