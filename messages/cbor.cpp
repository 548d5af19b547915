// SPDX-License-Identifier: Apache-2.0
#include "messages/cbor.hpp"

#include <bitset>
#include <cbor.h>
#include <limits>

namespace troupe::codec {

namespace {

constexpr std::size_t head_bytes_max = 9;

class writer {
public:
  explicit writer(byte_vector& out) : out_{out} {}

  void value(const schema& type, const void* where);

private:
  template <class Encode, class... Args>
  void head(Encode encode, Args... args) {
    unsigned char buffer[head_bytes_max];
    const auto length = encode(args..., buffer, sizeof buffer);
    out_.insert(out_.end(), buffer, buffer + length);
  }

  void raw(const void* from, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(from);
    out_.insert(out_.end(), bytes, bytes + size);
  }

  void text(std::string_view from) {
    head(cbor_encode_string_start, from.size());
    raw(from.data(), from.size());
  }

  void byte_string(const void* from, std::size_t size) {
    head(cbor_encode_bytestring_start, size);
    raw(from, size);
  }

  void integer(const schema& type, const void* where);
  void record(const schema& type, const void* where);

  byte_vector& out_;
};

void writer::integer(const schema& type, const void* where) {
  const auto value = load_integer(type, where);
  if (type.is_signed && value < 0)
    head(cbor_encode_negint, ~static_cast<std::uint64_t>(value));
  else
    head(cbor_encode_uint, static_cast<std::uint64_t>(value));
}

void writer::record(const schema& type, const void* where) {
  const void* defaults = type.defaults();
  std::bitset<128> written;
  for (const auto& member : type.members)
    written[member.number] = !equal(*member.type, member.in(where), member.in(defaults));
  head(cbor_encode_map_start, written.count());
  for (const auto& member : type.members) {
    if (!written[member.number])
      continue;
    if (member.options.critical)
      head(cbor_encode_negint, std::uint64_t{member.number - 1});
    else
      head(cbor_encode_uint, std::uint64_t{member.number});
    value(*member.type, member.in(where));
  }
}

void writer::value(const schema& type, const void* where) {
  switch (type.kind) {
  case shape::boolean: return head(cbor_encode_bool, *static_cast<const bool*>(where));
  case shape::integer:
  case shape::enumeration: return integer(type, where);
  case shape::real: return head(cbor_encode_double, *static_cast<const double*>(where));
  case shape::text: return text(*static_cast<const std::string*>(where));
  case shape::bytes: {
    const auto& bytes = *static_cast<const byte_vector*>(where);
    return byte_string(bytes.data(), bytes.size());
  }
  case shape::fixed_bytes: return byte_string(where, type.size);
  case shape::list: {
    const auto count = type.count(where);
    head(cbor_encode_array_start, count);
    for (std::size_t i = 0; i < count; ++i)
      value(*type.element, type.at(where, i));
    return;
  }
  case shape::optional:
    if (const void* held = type.held(where))
      return value(*type.element, held);
    return head(cbor_encode_null);
  case shape::text_map: {
    const auto& map = *static_cast<const text_map*>(where);
    head(cbor_encode_map_start, map.size());
    for (const auto& [key, entry] : map) {
      text(key);
      text(entry);
    }
    return;
  }
  case shape::record: return record(type, where);
  }
}

/// One head of CBOR as libcbor's streaming decoder delivers it, with the bytes of a string.
struct token {
  enum class kind {
    none,
    unsigned_int,
    negative_int,
    bytes,
    text,
    array,
    map,
    real,
    boolean,
    null,
    refused
  };
  kind what = kind::none;
  std::uint64_t number = 0; ///< value, -1 - value, or count
  double real = 0;
  byte_view data;
};

const char* name_of(token::kind what) {
  switch (what) {
  case token::kind::none: return "nothing";
  case token::kind::unsigned_int:
  case token::kind::negative_int: return "an integer";
  case token::kind::bytes: return "a byte string";
  case token::kind::text: return "a text";
  case token::kind::array: return "a list";
  case token::kind::map: return "a map";
  case token::kind::real: return "a floating-point number";
  case token::kind::boolean: return "a boolean";
  case token::kind::null: return "null";
  case token::kind::refused: return "an item of indefinite length, a tag or an undefined value";
  }
  return "nothing";
}

void put(void* into, token::kind what, std::uint64_t number) {
  auto& t = *static_cast<token*>(into);
  t.what = what;
  t.number = number;
}

void put_data(void* into, token::kind what, cbor_data data, std::size_t size) {
  auto& t = *static_cast<token*>(into);
  t.what = what;
  t.data = {data, size};
}

void put_real(void* into, double value) {
  auto& t = *static_cast<token*>(into);
  t.what = token::kind::real;
  t.real = value;
}

template <token::kind What, class T>
void on_number(void* into, T value) {
  put(into, What, value);
}

template <token::kind What>
void on_simple(void* into) {
  put(into, What, 0);
}

template <token::kind What>
void on_data(void* into, cbor_data data, std::size_t size) {
  put_data(into, What, data, size);
}

const cbor_callbacks& callbacks() {
  using k = token::kind;
  static const cbor_callbacks table = [] {
    cbor_callbacks c{};
    c.uint8 = on_number<k::unsigned_int, std::uint8_t>;
    c.uint16 = on_number<k::unsigned_int, std::uint16_t>;
    c.uint32 = on_number<k::unsigned_int, std::uint32_t>;
    c.uint64 = on_number<k::unsigned_int, std::uint64_t>;
    c.negint8 = on_number<k::negative_int, std::uint8_t>;
    c.negint16 = on_number<k::negative_int, std::uint16_t>;
    c.negint32 = on_number<k::negative_int, std::uint32_t>;
    c.negint64 = on_number<k::negative_int, std::uint64_t>;
    c.byte_string = on_data<k::bytes>;
    c.string = on_data<k::text>;
    c.array_start = on_number<k::array, std::size_t>;
    c.map_start = on_number<k::map, std::size_t>;
    c.float2 = [](void* into, float value) { put_real(into, double{value}); };
    c.float4 = c.float2;
    c.float8 = put_real;
    c.boolean = [](void* into, bool value) { put(into, k::boolean, value ? 1 : 0); };
    c.null = on_simple<k::null>;
    c.byte_string_start = c.string_start = c.indef_array_start = c.indef_map_start = c.undefined =
        c.indef_break = on_simple<k::refused>;
    c.tag = on_number<k::refused, std::uint64_t>;
    return c;
  }();
  return table;
}

class reader {
public:
  reader(byte_view from, const cbor_limits& limits) : rest_{from}, limits_{limits} {}

  bool value(const schema& type, void* where, const field_options& options, unsigned depth);
  bool at_end() const { return rest_.empty(); }
  bool wrong(std::string why);

  std::string sentence() const { return path_.empty() ? why_ : "field " + path_ + " " + why_; }

private:
  bool next(token& t);
  bool is_not(const char* wanted, const token& t);
  bool fits(const token& t);
  bool within(std::string_view step) {
    if (!path_.empty() && path_.front() != '[')
      path_.insert(0, ".");
    path_.insert(0, step);
    return false;
  }

  bool skip(unsigned depth);
  bool integer(const schema& type, void* where, const token& t);
  bool record(const schema& type, void* where, const token& t, unsigned depth);
  bool member_key(const schema& type, std::bitset<128>& seen, const member_schema*& found);
  bool list(const schema& type, void* where, const token& t, const field_options& options,
            unsigned depth);
  bool map(void* where, const token& t);
  bool map_entry(text_map& into);
  bool scalar(const schema& type, void* where, const token& t);
  bool item(const schema& type, void* where, const token& t, const field_options& options,
            unsigned depth);

  byte_view rest_;
  const cbor_limits& limits_;
  std::size_t entries_bytes_ = 0;
  std::string path_; ///< built from the inside out once something is wrong
  std::string why_;
};

bool reader::wrong(std::string why) {
  why_ = std::move(why);
  return false;
}

bool reader::next(token& t) {
  t = {};
  const auto result = cbor_stream_decode(rest_.data(), rest_.size(), &callbacks(), &t);
  if (result.status == CBOR_DECODER_NEDATA)
    return wrong("ends too early: " + std::to_string(rest_.size()) + " bytes are left");
  if (result.status != CBOR_DECODER_FINISHED || t.what == token::kind::none)
    return wrong("starts with the byte " + std::to_string(rest_.empty() ? 0 : rest_[0]) +
                 ", which is not CBOR");
  rest_ = rest_.subspan(result.read);
  return true;
}

bool reader::is_not(const char* wanted, const token& t) {
  return wrong(std::string{"must be "} + wanted + ", but is " + name_of(t.what));
}

/// Every entry takes a byte at least: a count beyond the rest of the input is refused before
/// anything is allocated.
bool reader::fits(const token& t) {
  const auto each = t.what == token::kind::map ? 2u : 1u;
  if (t.number > rest_.size() / each)
    return wrong("says it has " + std::to_string(t.number) + " entries, but only " +
                 std::to_string(rest_.size()) + " bytes are left");
  return true;
}

bool reader::skip(unsigned depth) {
  if (depth > cbor_depth_max)
    return wrong("is nested deeper than " + std::to_string(cbor_depth_max) + " levels");
  token t;
  if (!next(t))
    return false;
  if (t.what == token::kind::refused)
    return is_not("plain CBOR", t);
  if (t.what != token::kind::array && t.what != token::kind::map)
    return true;
  if (!fits(t))
    return false;
  const auto items = t.what == token::kind::map ? 2 * t.number : t.number;
  for (std::uint64_t i = 0; i < items; ++i)
    if (!skip(depth + 1))
      return false;
  return true;
}

bool reader::integer(const schema& type, void* where, const token& t) {
  const bool negative = t.what == token::kind::negative_int;
  if (!negative && t.what != token::kind::unsigned_int)
    return is_not("an integer", t);
  const auto shown = [&] {
    // -1 - n; n = 2^64 - 1 is beyond what can be printed as a magnitude.
    if (negative && t.number == std::numeric_limits<std::uint64_t>::max())
      return std::string{"-18446744073709551616"};
    return (negative ? "-" : "") + std::to_string(t.number + (negative ? 1 : 0));
  };
  const bool wraps = negative && t.number == std::numeric_limits<std::uint64_t>::max();
  if (wraps || !store_integer(type, where, negative, t.number + (negative ? 1 : 0)))
    return wrong("is " + shown() + ", which its type cannot hold");
  if (type.kind == shape::enumeration && type.enum_name(load_integer(type, where)) == "unknown")
    return wrong("is " + shown() + ", which names no known value");
  return true;
}

/// Reads a key and finds its field; `found` stays empty for an unknown number that may be skipped.
bool reader::member_key(const schema& type, std::bitset<128>& seen, const member_schema*& found) {
  token key;
  if (!next(key))
    return false;
  const bool critical = key.what == token::kind::negative_int;
  if (!critical && key.what != token::kind::unsigned_int)
    return wrong(std::string{"has a key that must be a field number, but is "} + name_of(key.what));
  if (key.number > 127 || (critical ? key.number > 126 : key.number == 0))
    return wrong("has a field number outside 1 to 127");
  const auto number = static_cast<unsigned>(key.number) + (critical ? 1 : 0);
  if (seen[number])
    return wrong("has field number " + std::to_string(number) + " twice");
  seen[number] = true;
  found = nullptr;
  for (const auto& member : type.members)
    if (member.number == number)
      found = &member;
  if (found == nullptr && critical)
    return wrong("has field number " + std::to_string(number) +
                 ", which must be understood and is not known here: the sender is newer");
  return true;
}

bool reader::record(const schema& type, void* where, const token& t, unsigned depth) {
  if (t.what != token::kind::map)
    return is_not("a map of fields", t);
  if (!fits(t))
    return false;
  std::bitset<128> seen;
  for (std::uint64_t i = 0; i < t.number; ++i) {
    const member_schema* member = nullptr;
    if (!member_key(type, seen, member))
      return false;
    if (member == nullptr) {
      if (!skip(depth + 1))
        return false;
    } else if (!value(*member->type, member->address(where), member->options, depth + 1)) {
      return within(member->name);
    }
  }
  return true;
}

bool reader::list(const schema& type, void* where, const token& t, const field_options& options,
                  unsigned depth) {
  if (t.what != token::kind::array)
    return is_not("a list", t);
  if (!fits(t))
    return false;
  if (t.number > options.limit)
    return wrong("holds " + std::to_string(t.number) + " entries; at most " +
                 std::to_string(options.limit) + " are allowed");
  entries_bytes_ += type.element->size * t.number;
  if (entries_bytes_ > limits_.entries_bytes_max)
    return wrong("makes the message's lists larger than " +
                 std::to_string(limits_.entries_bytes_max) + " bytes of memory");
  const field_options each{options.visible, options.each_limit, no_limit, false, false};
  type.clear(where);
  for (std::uint64_t i = 0; i < t.number; ++i)
    if (!value(*type.element, type.append(where), each, depth + 1))
      return within("[" + std::to_string(i) + "]");
  return true;
}

bool reader::map_entry(text_map& into) {
  token key;
  if (!next(key))
    return false;
  if (key.what != token::kind::text)
    return is_not("a map with texts as keys", key);
  token entry;
  if (!next(entry))
    return false;
  if (entry.what != token::kind::text)
    return is_not("a map with texts as values", entry);
  if (!into.emplace(as_text(key.data), as_text(entry.data)).second)
    return wrong("has the key '" + std::string{as_text(key.data)} + "' twice");
  return true;
}

bool reader::map(void* where, const token& t) {
  if (t.what != token::kind::map)
    return is_not("a map", t);
  if (!fits(t))
    return false;
  auto& into = *static_cast<text_map*>(where);
  into.clear();
  for (std::uint64_t i = 0; i < t.number; ++i)
    if (!map_entry(into))
      return false;
  return true;
}

bool reader::scalar(const schema& type, void* where, const token& t) {
  switch (type.kind) {
  case shape::boolean:
    if (t.what != token::kind::boolean)
      return is_not("a boolean", t);
    *static_cast<bool*>(where) = t.number != 0;
    return true;
  case shape::real:
    if (t.what != token::kind::real)
      return is_not("a floating-point number", t);
    *static_cast<double*>(where) = t.real;
    return true;
  case shape::text:
    if (t.what != token::kind::text)
      return is_not("a text", t);
    static_cast<std::string*>(where)->assign(as_text(t.data));
    return true;
  case shape::bytes:
    if (t.what != token::kind::bytes)
      return is_not("a byte string", t);
    static_cast<byte_vector*>(where)->assign(t.data.begin(), t.data.end());
    return true;
  case shape::fixed_bytes:
    if (t.what != token::kind::bytes)
      return is_not("a byte string", t);
    if (t.data.size() != type.size)
      return wrong("has " + std::to_string(t.data.size()) + " bytes instead of " +
                   std::to_string(type.size));
    std::memcpy(where, t.data.data(), type.size);
    return true;
  default: return integer(type, where, t);
  }
}

bool reader::item(const schema& type, void* where, const token& t, const field_options& options,
                  unsigned depth) {
  switch (type.kind) {
  case shape::list: return list(type, where, t, options, depth);
  case shape::record: return record(type, where, t, depth);
  case shape::text_map: return map(where, t);
  case shape::optional:
    if (t.what == token::kind::null) {
      type.clear(where);
      return true;
    }
    return item(*type.element, type.emplace(where), t, options, depth);
  default: break;
  }
  // A text or byte string beyond its bound is refused before it is copied.
  if (t.data.size() > options.limit)
    return wrong("holds " + std::to_string(t.data.size()) + " bytes; at most " +
                 std::to_string(options.limit) + " are allowed");
  return scalar(type, where, t);
}

bool reader::value(const schema& type, void* where, const field_options& options, unsigned depth) {
  if (depth > cbor_depth_max)
    return wrong("is nested deeper than " + std::to_string(cbor_depth_max) + " levels");
  token t;
  if (!next(t) || !item(type, where, t, options, depth))
    return false;
  auto broken = bound_error(type, where, options);
  return broken.empty() || wrong(std::move(broken));
}

} // namespace

void encode_cbor(byte_vector& out, const schema& type, const void* value) {
  writer{out}.value(type, value);
}

expected<void> decode_cbor(byte_view from, const schema& type, void* value,
                           const cbor_limits& limits) {
  if (from.size() > limits.bytes_max)
    return fail(errc::invalid, "a message of " + std::to_string(from.size()) +
                                   " bytes is refused: at most " +
                                   std::to_string(limits.bytes_max) + " are read");
  reader r{from, limits};
  if (r.value(type, value, {}, 1)) {
    if (r.at_end())
      return {};
    r.wrong("has bytes after its end");
  }
  return fail(errc::invalid, "a message in CBOR cannot be read: " + r.sentence());
}

} // namespace troupe::codec
