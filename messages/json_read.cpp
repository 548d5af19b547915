// SPDX-License-Identifier: Apache-2.0
#include "messages/json.hpp"
#include "messages/json_scan.hpp"

#include <bitset>
#include <charconv>

namespace troupe::codec {

namespace {

/// Where the next value goes.
struct slot {
  const schema* type = nullptr;
  void* where = nullptr;
  field_options options;
};

/// An object or list that is being read.
struct frame {
  const schema* type = nullptr;
  void* where = nullptr;
  field_options options;
  const member_schema* member = nullptr; ///< the field being read, in a record
  std::size_t next = 0;                  ///< the field that comes next when all are in order
  std::string key;                       ///< the key being read, in a text map
  std::bitset<128> seen{};               ///< field numbers given, in a record
};

/// Puts the values of a text straight into structs, by their tables.
class reader {
public:
  reader(const schema& type, void* value, const json_limits& limits)
      : root_type_{type}, root_{value}, limits_{limits} {
    frames_.reserve(8);
  }

  /// Reads the whole text; false when `sentence` says why not.
  bool read(json_scanner& in);
  std::string sentence() const { return why_; }

private:
  bool scalar(json_scanner& in, char first);
  bool number(std::string_view text);
  bool member(json_scanner& in);
  bool broken(const json_scanner& in);
  std::string_view unescaped(std::string_view raw);
  bool wrong(std::string_view why);
  bool is_not(const schema& wanted, std::string_view what);
  std::string path() const;
  bool target(slot& into);
  bool real_target(slot& into);
  bool null();
  bool boolean(bool value);
  bool integer(bool negative, std::uint64_t magnitude);
  bool real(double value, std::string_view written);
  bool string(std::string_view value);
  bool binary_text(const slot& into, std::string_view value);
  bool enumeration(const slot& into, std::string_view value);
  bool key(std::string_view name);
  bool open(shape wanted, std::string_view what);
  bool close();
  bool done(const slot& into);

  const schema& root_type_;
  void* root_;
  const json_limits& limits_;
  std::vector<frame> frames_;
  std::size_t entries_bytes_ = 0;
  std::string unescaped_;
  std::string why_;
};

std::string_view name_of(const schema& type) {
  switch (type.kind) {
  case shape::boolean: return "true or false";
  case shape::integer: return "an integer";
  case shape::real: return "a number";
  case shape::enumeration:
  case shape::text: return "a string";
  case shape::bytes:
  case shape::fixed_bytes: return "a string in base64url";
  case shape::list: return "a list";
  case shape::optional: return name_of(*type.element);
  case shape::text_map: return "an object of strings";
  case shape::record: return "an object";
  }
  return "nothing";
}

/// At most 64 bytes of something a client wrote, for an error sentence.
std::string excerpt(std::string_view text) {
  constexpr std::size_t shown = 64;
  std::string out;
  append_json_string(out, text.substr(0, shown));
  if (text.size() > shown)
    out += "…";
  return out;
}

std::string reader::path() const {
  std::string path;
  for (const auto& f : frames_) {
    if (f.type->kind == shape::record && f.member != nullptr)
      path += (path.empty() ? "" : ".") + std::string{f.member->name};
    else if (f.type->kind == shape::list && f.type->count(f.where) > 0)
      path += "[" + std::to_string(f.type->count(f.where) - 1) + "]";
    else if (f.type->kind == shape::text_map && !f.key.empty())
      path += "[" + excerpt(f.key) + "]";
  }
  return path;
}

bool reader::wrong(std::string_view why) {
  const auto where = path();
  why_ = where.empty() ? "" : "field " + where + " ";
  why_ += why;
  return false;
}

bool reader::is_not(const schema& wanted, std::string_view what) {
  return wrong("must be " + std::string{name_of(wanted)} + ", but is " + std::string{what});
}

/// Finds where the next value goes; appends the entry it goes to in a list.
bool reader::target(slot& into) {
  if (frames_.empty()) {
    into = {&root_type_, root_, {}};
    return true;
  }
  auto& f = frames_.back();
  if (f.type->kind == shape::record) {
    into = {f.member->type, f.member->address(f.where), f.member->options};
    return true;
  }
  if (f.type->kind == shape::text_map) {
    into = {&schema_of<std::string>, &(*static_cast<text_map*>(f.where))[f.key], {}};
    into.options.limit = f.options.each_limit;
    return true;
  }
  const auto count = f.type->count(f.where);
  if (count >= f.options.limit) {
    wrong("holds more than the " + std::to_string(f.options.limit) + " entries that are allowed");
    return false;
  }
  entries_bytes_ += f.type->element->size;
  if (entries_bytes_ > limits_.entries_bytes_max) {
    wrong("makes the document's lists larger than " + std::to_string(limits_.entries_bytes_max) +
          " bytes of memory");
    return false;
  }
  into = {f.type->element, f.type->append(f.where), {}};
  into.options.limit = f.options.each_limit;
  return true;
}

/// The same, through an optional to what it holds.
bool reader::real_target(slot& into) {
  if (!target(into))
    return false;
  if (into.type->kind == shape::optional)
    into = {into.type->element, into.type->emplace(into.where), into.options};
  return true;
}

bool reader::done(const slot& into) {
  auto broken = bound_error(*into.type, into.where, into.options);
  return broken.empty() || wrong(broken);
}

bool reader::null() {
  // For a field, null means "not given": the default stays.
  if (!frames_.empty() && frames_.back().type->kind == shape::record) {
    const auto& member = *frames_.back().member;
    if (member.options.mandatory)
      return is_not(*member.type, "null");
    frames_.back().seen[member.number] = true;
    if (member.type->kind == shape::optional)
      member.type->clear(member.address(frames_.back().where));
    return true;
  }
  slot into;
  if (!target(into))
    return false;
  return into.type->kind == shape::optional || is_not(*into.type, "null");
}

bool reader::boolean(bool value) {
  slot into;
  if (!real_target(into))
    return false;
  if (into.type->kind != shape::boolean)
    return is_not(*into.type, value ? "true" : "false");
  *static_cast<bool*>(into.where) = value;
  return true;
}

bool reader::integer(bool negative, std::uint64_t magnitude) {
  slot into;
  if (!real_target(into))
    return false;
  const auto shown = [&] { return (negative ? "-" : "") + std::to_string(magnitude); };
  if (into.type->kind == shape::real) {
    const auto value = static_cast<double>(magnitude);
    *static_cast<double*>(into.where) = negative ? -value : value;
    return true;
  }
  if (into.type->kind != shape::integer)
    return is_not(*into.type, "the number " + shown());
  if (!store_integer(*into.type, into.where, negative, magnitude))
    return wrong("is " + shown() + ", which is outside its range");
  return done(into);
}

bool reader::real(double value, std::string_view written) {
  slot into;
  if (!real_target(into))
    return false;
  if (into.type->kind == shape::real) {
    *static_cast<double*>(into.where) = value;
    return true;
  }
  if (into.type->kind == shape::integer && written.find_first_of(".eE") == written.npos)
    return wrong("is " + excerpt(written) + ", which is outside its range");
  return is_not(*into.type, "the number " + excerpt(written));
}

bool reader::binary_text(const slot& into, std::string_view value) {
  byte_vector bytes;
  if (!read_base64url(value, bytes))
    return wrong("must be base64url without padding, but is " + excerpt(value));
  if (into.type->kind == shape::bytes) {
    *static_cast<byte_vector*>(into.where) = std::move(bytes);
    return done(into);
  }
  if (bytes.size() != into.type->size)
    return wrong("has " + std::to_string(bytes.size()) + " bytes instead of " +
                 std::to_string(into.type->size));
  std::memcpy(into.where, bytes.data(), bytes.size());
  return true;
}

bool reader::enumeration(const slot& into, std::string_view value) {
  std::int64_t number = 0;
  if (into.type->enum_value(value, number))
    return store_integer(*into.type, into.where, number < 0,
                         number < 0 ? ~static_cast<std::uint64_t>(number) + 1
                                    : static_cast<std::uint64_t>(number));
  std::string known;
  for (const auto name : enum_names(*into.type))
    known += (known.empty() ? "" : ", ") + std::string{name};
  return wrong("is " + excerpt(value) + ", but must be one of " + known);
}

bool reader::string(std::string_view value) {
  slot into;
  if (!real_target(into))
    return false;
  switch (into.type->kind) {
  case shape::text: *static_cast<std::string*>(into.where) = value; return done(into);
  case shape::bytes:
  case shape::fixed_bytes: return binary_text(into, value);
  case shape::enumeration: return enumeration(into, value);
  default: return is_not(*into.type, "the string " + excerpt(value));
  }
}

bool reader::open(shape wanted, std::string_view what) {
  if (frames_.size() == json_depth_max)
    return wrong("is nested deeper than " + std::to_string(json_depth_max) + " levels");
  slot into;
  if (!real_target(into))
    return false;
  const bool is_map = wanted == shape::record && into.type->kind == shape::text_map;
  if (into.type->kind != wanted && !is_map)
    return is_not(*into.type, what);
  if (into.type->kind == shape::list)
    into.type->clear(into.where);
  if (is_map)
    static_cast<text_map*>(into.where)->clear();
  frames_.push_back({into.type, into.where, into.options, nullptr, 0, {}, {}});
  return true;
}

bool reader::key(std::string_view name) {
  auto& f = frames_.back();
  if (f.type->kind == shape::text_map) {
    auto& map = *static_cast<text_map*>(f.where);
    f.key = name;
    if (map.count(f.key) != 0)
      return wrong("is given twice");
    if (map.size() >= f.options.limit || name.size() > f.options.each_limit)
      return wrong(map.size() >= f.options.limit
                       ? "is one entry more than the " + std::to_string(f.options.limit) +
                             " that are allowed"
                       : "has a key longer than the " + std::to_string(f.options.each_limit) +
                             " bytes that are allowed");
    return true;
  }
  // Whoever writes a field list's own order is read without a search.
  const auto& members = f.type->members;
  for (std::size_t i = 0; i < members.size() && members[f.next % members.size()].name != name; ++i)
    ++f.next;
  f.member = members.empty() ? nullptr : &members[f.next++ % members.size()];
  if (f.member != nullptr && f.member->name != name)
    f.member = nullptr;
  if (f.member == nullptr) {
    const auto where = path();
    why_ = "field " + excerpt(name) + " is not known" + (where.empty() ? "" : " in " + where);
    return false;
  }
  if (f.seen[f.member->number])
    return wrong("is given twice");
  f.seen[f.member->number] = true;
  return true;
}

bool reader::close() {
  auto& f = frames_.back();
  f.member = nullptr;
  f.key.clear();
  if (f.type->kind == shape::record)
    for (const auto& member : f.type->members)
      if (member.options.mandatory && !f.seen[member.number]) {
        f.member = &member;
        return wrong("is missing");
      }
  frames_.pop_back();
  return true;
}

bool reader::broken(const json_scanner& in) {
  why_ = "is broken at byte " + std::to_string(in.position());
  return false;
}

std::string_view reader::unescaped(std::string_view raw) {
  if (raw.find('\\') == raw.npos)
    return raw;
  unescaped_.clear();
  append_unescaped(unescaped_, raw);
  return unescaped_;
}

bool reader::number(std::string_view text) {
  const bool negative = text.front() == '-';
  const auto* last = text.data() + text.size();
  std::uint64_t magnitude = 0;
  if (const auto [end, bad] = std::from_chars(text.data() + negative, last, magnitude);
      bad == std::errc{} && end == last)
    return integer(negative && magnitude != 0, magnitude);
  double value = 0;
  if (std::from_chars(text.data(), last, value).ec != std::errc{})
    return wrong("is " + excerpt(text) + ", which is outside its range");
  return real(value, text);
}

bool reader::scalar(json_scanner& in, char first) {
  if (first == '"') {
    const auto raw = in.raw_string();
    return raw ? string(unescaped(*raw)) : broken(in);
  }
  const auto text = in.raw_scalar();
  if (!text)
    return broken(in);
  switch (first) {
  case 'n': return null();
  case 't':
  case 'f': return boolean(first == 't');
  default: return number(*text);
  }
}

/// A member's name and its colon.
bool reader::member(json_scanner& in) {
  const auto raw = in.raw_string();
  if (!raw)
    return broken(in);
  return key(unescaped(*raw)) && (in.take(':') || broken(in));
}

/// One loop instead of a recursion: `open` bounds the depth.
bool reader::read(json_scanner& in) {
  do {
    const auto first = in.next();
    const bool opens = first == '{' || first == '[';
    if (opens) {
      in.take(first);
      if (!(first == '{' ? open(shape::record, "an object") : open(shape::list, "a list")))
        return false;
    } else if (!scalar(in, first)) {
      return false;
    }
    bool is_first = opens;
    while (!frames_.empty() && in.take(frames_.back().type->kind == shape::list ? ']' : '}')) {
      if (!close())
        return false;
      is_first = false;
    }
    if (frames_.empty())
      return in.at_end() || broken(in);
    if (!is_first && !in.take(','))
      return broken(in);
    if (frames_.back().type->kind != shape::list && !member(in))
      return false;
  } while (true);
}

} // namespace

expected<void> read_json(std::string_view from, const schema& type, void* value,
                         const json_limits& limits) {
  if (from.size() > limits.bytes_max)
    return fail(errc::invalid, "a JSON text of " + std::to_string(from.size()) +
                                   " bytes is refused: at most " +
                                   std::to_string(limits.bytes_max) + " are read");
  reader r{type, value, limits};
  json_scanner in{from};
  if (r.read(in))
    return {};
  return fail(errc::invalid, "the JSON text cannot be read: " + r.sentence());
}

} // namespace troupe::codec
