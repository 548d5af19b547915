// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/line_editor.hpp"

#include <cstdio>
#include <histedit.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

constexpr int history_lines_max = 200;

struct end_history {
  void operator()(History* one) const { ::history_end(one); }
};

struct end_editor {
  void operator()(EditLine* one) const { ::el_end(one); }
};

} // namespace

struct line_editor::state {
  std::string prompt;
  HistEvent event{};
  std::unique_ptr<History, end_history> past;
  std::unique_ptr<EditLine, end_editor> editor;
};

line_editor::line_editor(std::string prompt) : state_{std::make_unique<state>()} {
  state_->prompt = std::move(prompt);
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0)
    return;
  state_->past.reset(::history_init());
  state_->editor.reset(::el_init("troupe", stdin, stdout, stderr));
  auto* editor = state_->editor.get();
  ::history(state_->past.get(), &state_->event, H_SETSIZE, history_lines_max);
  char* (*prompt_of)(EditLine*) = [](EditLine* of) {
    void* data = nullptr;
    ::el_get(of, EL_CLIENTDATA, &data);
    return static_cast<state*>(data)->prompt.data();
  };
  ::el_set(editor, EL_CLIENTDATA, state_.get());
  ::el_set(editor, EL_PROMPT, prompt_of);
  ::el_set(editor, EL_EDITOR, "emacs");
  ::el_set(editor, EL_HIST, ::history, state_->past.get());
  ::el_set(editor, EL_SIGNAL, 1);
}

line_editor::~line_editor() = default;

std::optional<std::string> line_editor::next() {
  std::string line;
  if (state_->editor) {
    int length = 0;
    const char* text = ::el_gets(state_->editor.get(), &length);
    if (text == nullptr || length <= 0)
      return {};
    line.assign(text, static_cast<std::size_t>(length));
    if (line.find_first_not_of(" \t\n") != std::string::npos)
      ::history(state_->past.get(), &state_->event, H_ENTER, text);
  } else {
    int c = std::getchar();
    if (c == EOF)
      return {};
    for (; c != EOF && c != '\n'; c = std::getchar())
      line += static_cast<char>(c);
  }
  while (!line.empty() && line.back() == '\n')
    line.pop_back();
  return line;
}

} // namespace troupe::cli
