// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/convert.hpp"

#include <cstring>

namespace troupe::pmix {

namespace {

constexpr std::int32_t infos_max = 4096;

/// A buffer the library packs into and unpacks from.
class data_buffer {
public:
  data_buffer() { PMIX_DATA_BUFFER_CONSTRUCT(&buffer_); }
  explicit data_buffer(byte_view from) : data_buffer() {
    // The library frees what it loads: it gets a copy.
    pmix_byte_object_t bytes{static_cast<char*>(std::malloc(from.size() + 1)), from.size()};
    if (bytes.bytes == nullptr)
      return;
    if (!from.empty())
      std::memcpy(bytes.bytes, from.data(), from.size());
    if (PMIx_Data_load(&buffer_, &bytes) != PMIX_SUCCESS)
      std::free(bytes.bytes);
  }
  data_buffer(const data_buffer&) = delete;
  data_buffer& operator=(const data_buffer&) = delete;
  ~data_buffer() { PMIX_DATA_BUFFER_DESTRUCT(&buffer_); }

  bool pack(const void* value, std::int32_t count, pmix_data_type_t type) {
    return PMIx_Data_pack(nullptr, &buffer_, const_cast<void*>(value), count, type) == PMIX_SUCCESS;
  }
  bool unpack(void* value, std::int32_t count, pmix_data_type_t type) {
    return PMIx_Data_unpack(nullptr, &buffer_, value, &count, type) == PMIX_SUCCESS;
  }
  byte_vector bytes() const {
    const auto* from = reinterpret_cast<const std::uint8_t*>(buffer_.base_ptr);
    return {from, from + buffer_.bytes_used};
  }

private:
  pmix_data_buffer_t buffer_{};
};

} // namespace

info_list::~info_list() {
  for (auto& item : items_)
    PMIX_INFO_DESTRUCT(&item);
}

void info_list::add(const char* key, const void* value, pmix_data_type_t type) {
  auto& item = items_.emplace_back();
  PMIX_INFO_CONSTRUCT(&item);
  PMIX_INFO_LOAD(&item, key, value, type);
}

void info_list::text(const char* key, const std::string& value) {
  add(key, value.c_str(), PMIX_STRING);
}
void info_list::flag(const char* key, bool value) {
  add(key, &value, PMIX_BOOL);
}
void info_list::number(const char* key, std::uint32_t value) {
  add(key, &value, PMIX_UINT32);
}
void info_list::small_number(const char* key, std::uint16_t value) {
  add(key, &value, PMIX_UINT16);
}
void info_list::size_value(const char* key, std::size_t value) {
  add(key, &value, PMIX_SIZE);
}
void info_list::whole_number(const char* key, int value) {
  add(key, &value, PMIX_INT);
}
void info_list::rank(const char* key, std::uint32_t value) {
  add(key, &value, PMIX_PROC_RANK);
}
void info_list::status(const char* key, pmix_status_t value) {
  add(key, &value, PMIX_STATUS);
}
void info_list::process_value(const char* key, const process& value) {
  c_process c{value};
  add(key, c.get(), PMIX_PROC);
}
void info_list::processes(const char* key, const std::vector<process>& value) {
  std::vector<pmix_proc_t> all;
  for (const auto& each : value)
    all.push_back(*c_process{each}.get());
  pmix_data_array_t array{PMIX_PROC, all.size(), all.data()};
  add(key, &array, PMIX_DATA_ARRAY);
}
void info_list::list(const char* key, info_list&& value) {
  pmix_data_array_t array{PMIX_INFO, value.size(), value.data()};
  add(key, &array, PMIX_DATA_ARRAY);
}
void info_list::array(const char* key, pmix_data_array_t& value) {
  add(key, &value, PMIX_DATA_ARRAY);
}

process to_process(const pmix_proc_t& from) {
  return {std::string{from.nspace, strnlen(from.nspace, PMIX_MAX_NSLEN)}, from.rank};
}

std::vector<process> to_processes(const pmix_proc_t* from, std::size_t count) {
  std::vector<process> all;
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(to_process(from[i]));
  return all;
}

byte_vector pack_infos(info_view infos) {
  data_buffer buffer;
  const auto count = static_cast<std::int32_t>(infos.size());
  if (!buffer.pack(&count, 1, PMIX_INT32) ||
      (count > 0 && !buffer.pack(infos.data(), count, PMIX_INFO)))
    return {};
  return buffer.bytes();
}

info_list unpack_infos(byte_view from) {
  info_list infos;
  if (from.empty())
    return infos;
  data_buffer buffer{from};
  std::int32_t count = 0;
  if (!buffer.unpack(&count, 1, PMIX_INT32) || count < 0 || count > infos_max)
    return infos;
  for (std::int32_t i = 0; i < count; ++i) {
    pmix_info_t info{};
    PMIX_INFO_CONSTRUCT(&info);
    if (!buffer.unpack(&info, 1, PMIX_INFO))
      break;
    infos.adopt(info);
  }
  return infos;
}

byte_vector pack_value(const pmix_value_t& value) {
  data_buffer buffer;
  return buffer.pack(&value, 1, PMIX_VALUE) ? buffer.bytes() : byte_vector{};
}

pmix_value_t unpack_value(byte_view from) {
  pmix_value_t value{};
  PMIX_VALUE_CONSTRUCT(&value);
  data_buffer buffer{from};
  (void)buffer.unpack(&value, 1, PMIX_VALUE);
  return value;
}

namespace {

bool integer_of(const pmix_value_t& value, std::int64_t& out) {
  switch (value.type) {
  case PMIX_INT: out = value.data.integer; return true;
  case PMIX_INT16: out = value.data.int16; return true;
  case PMIX_INT32: out = value.data.int32; return true;
  case PMIX_INT64: out = value.data.int64; return true;
  case PMIX_UINT: out = value.data.uint; return true;
  case PMIX_UINT8: out = value.data.uint8; return true;
  case PMIX_UINT16: out = value.data.uint16; return true;
  case PMIX_UINT32: out = value.data.uint32; return true;
  case PMIX_UINT64: out = static_cast<std::int64_t>(value.data.uint64); return true;
  case PMIX_SIZE: out = static_cast<std::int64_t>(value.data.size); return true;
  case PMIX_PROC_RANK: out = value.data.rank; return true;
  case PMIX_STATUS: out = value.data.status; return true;
  case PMIX_PERSIST: out = value.data.persist; return true;
  case PMIX_DATA_RANGE: out = value.data.range; return true;
  default: return false;
  }
}

} // namespace

std::string text_of(const pmix_value_t& value) {
  std::int64_t number = 0;
  if (integer_of(value, number))
    return std::to_string(number);
  if (value.type == PMIX_BOOL)
    return value.data.flag ? "true" : "false";
  if (value.type == PMIX_STRING && value.data.string != nullptr)
    return value.data.string;
  return {};
}

std::map<std::string, std::string> texts_of(info_view infos) {
  std::map<std::string, std::string> texts;
  for (const auto& info : infos) {
    const std::string key{info.key, strnlen(info.key, PMIX_MAX_KEYLEN)};
    auto text = text_of(info.value);
    if (!key.empty() && texts.size() < 256 && text.size() <= 4096)
      texts.emplace(key, std::move(text));
  }
  return texts;
}

bool has_key(const pmix_info_t& info, const char* key) {
  return std::strncmp(info.key, key, PMIX_MAX_KEYLEN) == 0;
}

bool is_true(const pmix_info_t& info) {
  // A flag without a value says yes.
  return info.value.type == PMIX_UNDEF || (info.value.type == PMIX_BOOL && info.value.data.flag);
}

std::int64_t number_of(const pmix_info_t& info, std::int64_t otherwise) {
  (void)integer_of(info.value, otherwise);
  return otherwise;
}

std::int64_t find_number(info_view infos, const char* key, std::int64_t otherwise) {
  for (const auto& info : infos)
    if (has_key(info, key))
      return number_of(info, otherwise);
  return otherwise;
}

std::vector<std::string> to_texts(char* const* from) {
  std::vector<std::string> texts;
  for (; from != nullptr && *from != nullptr; ++from)
    texts.emplace_back(*from);
  return texts;
}

} // namespace troupe::pmix
