// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/console_format.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>

namespace troupe::cli {

namespace {

std::string busy(std::uint64_t microseconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f ms", static_cast<double>(microseconds) / 1000);
  return text.data();
}

class tree {
public:
  explicit tree(const std::vector<actor_row>& rows) {
    std::set<std::uint64_t> known;
    for (const auto& row : rows)
      known.insert(row.id);
    for (const auto& row : rows)
      children_[known.count(row.parent) > 0 && row.parent != row.id ? row.parent : 0].push_back(
          &row);
  }

  std::string text() {
    draw_children(0, "");
    // Rows that only point at each other have no root; they are shown all the same.
    for (const auto& [parent, rows] : children_)
      for (const auto* row : rows)
        if (drawn_.insert(row).second)
          out_ += row->name + "\n";
    return std::move(out_);
  }

private:
  void draw_children(std::uint64_t parent, const std::string& indent) {
    auto found = children_.find(parent);
    if (found == children_.end() || indent.size() > 256)
      return;
    for (const auto* row : found->second) {
      if (!drawn_.insert(row).second)
        continue;
      bool last = row == found->second.back();
      bool root = parent == 0;
      out_ += indent +
              (root   ? ""
               : last ? "└─ "
                      : "├─ ") +
              printable(row->name) + "  (" + std::to_string(row->id) + ", " +
              std::to_string(row->handled) + " handled" +
              (row->mailbox > 0 ? ", " + std::to_string(row->mailbox) + " waiting" : "") + ")\n";
      draw_children(row->id, root ? indent : indent + (last ? "   " : "│  "));
    }
  }

  std::map<std::uint64_t, std::vector<const actor_row*>> children_;
  std::set<const actor_row*> drawn_;
  std::string out_;
};

} // namespace

table actor_table(const std::vector<actor_row>& rows) {
  using align = table::align;
  table result{{{"ID", align::right},
                {"NAME"},
                {"RECEIVED", align::right},
                {"HANDLED", align::right},
                {"REFUSED", align::right},
                {"WAITING", align::right},
                {"BUSY", align::right},
                {"LAST ERROR"}}};
  for (const auto& row : rows)
    result.add({std::to_string(row.id), row.name, std::to_string(row.received),
                std::to_string(row.handled), std::to_string(row.refused),
                std::to_string(row.mailbox), busy(row.busy_us), row.last_error});
  return result;
}

std::string actor_tree(const std::vector<actor_row>& rows) {
  return tree{rows}.text();
}

std::string status_text(const status_report& report) {
  std::size_t width = 0;
  for (const auto& item : report.items)
    width = std::max(width, shown_width(item.key));
  auto out = printable(report.actor) + "\n";
  for (const auto& item : report.items)
    out += "  " + printable(item.key) + std::string(width - shown_width(item.key) + 2, ' ') +
           printable(item.value) + "\n";
  return out;
}

} // namespace troupe::cli
