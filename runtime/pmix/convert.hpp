// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/pmix/handles.hpp"

#include <map>
#include <span>

// The library's values to and from ours. What this node only passes on stays packed, as the library
// packs it: the other nodes run a release that can read it, for their clients must as well.

namespace troupe::pmix {

using info_view = std::span<const pmix_info_t>;

process to_process(const pmix_proc_t& from);
std::vector<process> to_processes(const pmix_proc_t* from, std::size_t count);

byte_vector pack_infos(info_view infos);
/// Empty where the bytes are no packed infos.
info_list unpack_infos(byte_view from);

byte_vector pack_value(const pmix_value_t& value);
/// PMIX_UNDEF where the bytes are no packed value.
pmix_value_t unpack_value(byte_view from);

/// The value as a text for people and for options: strings, numbers and flags; else empty.
std::string text_of(const pmix_value_t& value);
std::map<std::string, std::string> texts_of(info_view infos);

bool has_key(const pmix_info_t& info, const char* key);
bool is_true(const pmix_info_t& info);
/// The number of an integer of any width, or `otherwise`.
std::int64_t number_of(const pmix_info_t& info, std::int64_t otherwise);
/// The number under `key`, or `otherwise`.
std::int64_t find_number(info_view infos, const char* key, std::int64_t otherwise);

std::vector<std::string> to_texts(char* const* from);

} // namespace troupe::pmix
