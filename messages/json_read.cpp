// SPDX-License-Identifier: Apache-2.0
#include "messages/json.hpp"

#include <bitset>
#include <nlohmann/json.hpp>

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
  std::string key;                       ///< the key being read, in a text map
  std::bitset<128> seen{};               ///< field numbers given, in a record
};

/// Receives nlohmann's parse events and puts values straight into structs, by their tables.
class reader {
public:
  reader(const schema& type, void* value, const json_limits& limits)
      : root_{&type, value, {}}, limits_{limits} {
    frames_.reserve(8);
  }

  // The interface nlohmann::json::sax_parse calls; false ends the parse.
  bool null();
  bool boolean(bool value);
  bool number_integer(std::int64_t value) {
    return integer(value < 0, value < 0 ? ~static_cast<std::uint64_t>(value) + 1
                                        : static_cast<std::uint64_t>(value));
  }
  bool number_unsigned(std::uint64_t value) { return integer(false, value); }
  bool number_float(double value, const std::string& written);
  bool string(std::string& value);
  bool binary(const nlohmann::json::binary_t&) { return wrong("must not be binary"); }
  bool start_object(std::size_t);
  bool key(std::string& name);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception&) {
    if (why_.empty())
      why_ = "is broken at byte " + std::to_string(at);
    return false;
  }

  std::string sentence() const { return why_; }

private:
  bool wrong(std::string_view why);
  bool is_not(const schema& wanted, std::string_view what);
  std::string path() const;
  bool target(slot& into);
  bool real_target(slot& into);
  bool integer(bool negative, std::uint64_t magnitude);
  bool text(const slot& into, std::string& value);
  bool binary_text(const slot& into, std::string_view value);
  bool enumeration(const slot& into, std::string_view value);
  bool open(shape wanted, std::string_view what);
  bool done(const slot& into);
  bool close();

  slot root_;
  const json_limits& limits_;
  std::vector<frame> frames_;
  std::size_t entries_bytes_ = 0;
  std::string why_;
  bool finished_ = false;
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
    into = root_;
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
  if (count >= f.options.limit)
    return wrong("holds more than the " + std::to_string(f.options.limit) +
                 " entries that are allowed");
  entries_bytes_ += f.type->element->size;
  if (entries_bytes_ > limits_.entries_bytes_max)
    return wrong("makes the document's lists larger than " +
                 std::to_string(limits_.entries_bytes_max) + " bytes of memory");
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

bool reader::number_float(double value, const std::string& written) {
  slot into;
  if (!real_target(into))
    return false;
  if (into.type->kind == shape::real) {
    *static_cast<double*>(into.where) = value;
    return true;
  }
  if (into.type->kind == shape::integer && written.find_first_of(".eE") == std::string::npos)
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

bool reader::string(std::string& value) {
  slot into;
  if (!real_target(into))
    return false;
  switch (into.type->kind) {
  case shape::text: static_cast<std::string*>(into.where)->swap(value); return done(into);
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
  frames_.push_back({into.type, into.where, into.options, nullptr, {}, {}});
  return true;
}

bool reader::start_object(std::size_t) {
  return open(shape::record, "an object");
}
bool reader::start_array(std::size_t) {
  return open(shape::list, "a list");
}

bool reader::key(std::string& name) {
  auto& f = frames_.back();
  if (f.type->kind == shape::text_map) {
    auto& map = *static_cast<text_map*>(f.where);
    f.key = name;
    if (map.count(name) != 0)
      return wrong("is given twice");
    if (map.size() >= f.options.limit || name.size() > f.options.each_limit)
      return wrong(map.size() >= f.options.limit
                       ? "is one entry more than the " + std::to_string(f.options.limit) +
                             " that are allowed"
                       : "has a key longer than the " + std::to_string(f.options.each_limit) +
                             " bytes that are allowed");
    return true;
  }
  f.member = nullptr;
  for (const auto& member : f.type->members)
    if (member.name == name)
      f.member = &member;
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

bool reader::end_object() {
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

bool reader::end_array() {
  frames_.pop_back();
  return true;
}

/// Walks a parsed document as the parser would have; its depth is bounded by `open`.
bool walk(reader& into, const nlohmann::json& from) {
  using kind = nlohmann::json::value_t;
  switch (from.type()) {
  case kind::null: return into.null();
  case kind::boolean: return into.boolean(from.get<bool>());
  case kind::number_integer: return into.number_integer(from.get<std::int64_t>());
  case kind::number_unsigned: return into.number_unsigned(from.get<std::uint64_t>());
  case kind::number_float: return into.number_float(from.get<double>(), from.dump());
  case kind::string: {
    auto text = from.get_ref<const std::string&>();
    return into.string(text);
  }
  case kind::array:
    if (!into.start_array(from.size()))
      return false;
    for (const auto& entry : from)
      if (!walk(into, entry))
        return false;
    return into.end_array();
  case kind::object:
    if (!into.start_object(from.size()))
      return false;
    for (const auto& [name, entry] : from.items()) {
      auto key = name;
      if (!into.key(key) || !walk(into, entry))
        return false;
    }
    return into.end_object();
  case kind::binary:
  case kind::discarded: return into.binary({});
  }
  return false;
}

} // namespace

expected<void> read_json(std::string_view from, const schema& type, void* value,
                         const json_limits& limits) {
  if (from.size() > limits.bytes_max)
    return fail(errc::invalid, "a JSON text of " + std::to_string(from.size()) +
                                   " bytes is refused: at most " +
                                   std::to_string(limits.bytes_max) + " are read");
  reader r{type, value, limits};
  if (nlohmann::json::sax_parse(from.data(), from.data() + from.size(), &r))
    return {};
  return fail(errc::invalid, "the JSON text cannot be read: " + r.sentence());
}

expected<void> read_json(const nlohmann::json& from, const schema& type, void* value,
                         const json_limits& limits) {
  reader r{type, value, limits};
  if (walk(r, from))
    return {};
  return fail(errc::invalid, "the JSON text cannot be read: " + r.sentence());
}

} // namespace troupe::codec
