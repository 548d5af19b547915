// SPDX-License-Identifier: Apache-2.0
#include "tests/catch.hpp"
#include "tests/tidy/rules.hpp"

#include <algorithm>
#include <fstream>
#include <stdlib.h>

namespace fs = std::filesystem;
using namespace troupe::tidy;

namespace {

const std::string licence = "// SPDX-License-Identifier: Apache-2.0\n";
const std::string header = licence + "#pragma once\n";

/// A small tree that keeps every rule, to be broken in one place per test.
class scratch_tree {
public:
  scratch_tree() {
    std::string name = (fs::temp_directory_path() / "troupe-tidy-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    write("README.md", "See [base](base/README.md). Start with `troupe up`.\n");
    for (const std::string folder : {"base", "auth", "messages", "runtime", "runtime/plan",
                                     "runtime/launch", "actors", "tools", "tests"})
      write(folder + "/README.md", "What lives here.\n");
    write("base/bytes.hpp", header + "#include <span>\n");
    write("base/error.hpp", header + "#include <string>\n");
    write("auth/order_view.hpp", header + "#include \"base/bytes.hpp\"\n");
    write("runtime/plan/types.hpp", header + "#include \"base/error.hpp\"\n");
    write("runtime/launch/protocol.hpp", header + "#include \"base/bytes.hpp\"\n");
    write("actors/job.hpp", header + "#include \"runtime/plan/types.hpp\"\n");
    write("tools/launcher/main.cpp", licence + "#include \"runtime/launch/protocol.hpp\"\n" +
                                         "#include \"auth/order_view.hpp\"\n#include <unistd.h>\n");
    write("tools/CMakeLists.txt", "# SPDX-License-Identifier: Apache-2.0\n"
                                  "add_executable(troupe-launcher launcher/main.cpp)\n");
    write("tools/troupe.cpp", licence + "command{\"up\", \"start a cluster\", define_up},\n");
    write("tests/job_test.cpp", licence + "// usleep(1) in a comment is no sleep\n");
  }
  ~scratch_tree() { fs::remove_all(root_); }
  scratch_tree(const scratch_tree&) = delete;
  scratch_tree& operator=(const scratch_tree&) = delete;

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream{root_ / path} << text;
  }
  void remove(const std::string& path) const { fs::remove(root_ / path); }

  findings check() const { return check_all(read_tree(root_)); }

  /// True when the tree has exactly one finding, in `file`, whose text holds `words`.
  bool finds(const std::string& file, const std::string& words) const {
    const auto found = check();
    for (const auto& place : found)
      UNSCOPED_INFO(place.file << ":" << place.line << ": " << place.text);
    return found.size() == 1 && found[0].file == file && found[0].text.find(words) != words.npos;
  }

private:
  fs::path root_;
};

} // namespace

TEST_CASE("a tree that keeps every rule has no findings") {
  CHECK(scratch_tree{}.check().empty());
}

TEST_CASE("a folder that includes what stands above it is found") {
  scratch_tree tree;
  tree.write("auth/bad.hpp", header + "#include \"messages/types.hpp\"\n");
  CHECK(tree.finds("auth/bad.hpp", "messages/ stands above auth/"));
}

TEST_CASE("a part of runtime that includes another part is found") {
  scratch_tree tree;
  tree.write("runtime/plan/bad.hpp", header + "#include \"runtime/launch/protocol.hpp\"\n");
  CHECK(tree.finds("runtime/plan/bad.hpp", "do not include each other"));
}

TEST_CASE("the simulator may include the scheduling core, and not the other way round") {
  scratch_tree tree;
  tree.write("runtime/sim/README.md", "What lives here.\n");
  tree.write("runtime/sim/replay.hpp", header + "#include \"runtime/plan/types.hpp\"\n");
  CHECK(tree.check().empty());
  tree.write("runtime/plan/bad.hpp", header + "#include \"runtime/sim/replay.hpp\"\n");
  CHECK(tree.finds("runtime/plan/bad.hpp", "do not include each other"));
}

TEST_CASE("an include that is not named from the root is found") {
  scratch_tree tree;
  tree.write("actors/bad.hpp", header + "#include \"../base/bytes.hpp\"\n");
  CHECK(tree.finds("actors/bad.hpp", "name it from the tree's root"));
}

TEST_CASE("a launcher source that includes more than its list is found") {
  scratch_tree tree;
  tree.write("tools/launcher/main.cpp", licence + "#include \"base/error.hpp\"\n");
  CHECK(tree.finds("tools/launcher/main.cpp", "into troupe-launcher"));
}

TEST_CASE("a heavy header that reaches the launcher through another header is found") {
  scratch_tree tree;
  tree.write("auth/order_view.hpp", header + "#include <vector>\n");
  CHECK(tree.finds("auth/order_view.hpp", "<vector>"));
}

TEST_CASE("a file of more than 600 lines is found") {
  scratch_tree tree;
  std::string text = licence;
  for (int i = 0; i < 600; ++i)
    text += "int x;\n";
  tree.write("base/long.cpp", text);
  CHECK(tree.finds("base/long.cpp", "601 lines"));
}

TEST_CASE("a line of more than 100 columns is found, counted in characters") {
  scratch_tree tree;
  std::string wide = "// ";
  for (int i = 0; i < 97; ++i)
    wide += "é";
  tree.write("base/wide.cpp", licence + wide + "\n");
  CHECK(tree.check().empty());
  tree.write("base/wide.cpp", licence + wide + "é\n");
  CHECK(tree.finds("base/wide.cpp", "101 columns"));
}

TEST_CASE("a source without its licence line is found") {
  scratch_tree tree;
  tree.write("base/bare.cpp", "int x;\n");
  CHECK(tree.finds("base/bare.cpp", "SPDX"));
}

TEST_CASE("a header without pragma once is found") {
  scratch_tree tree;
  tree.write("base/twice.hpp", licence);
  CHECK(tree.finds("base/twice.hpp", "#pragma once"));
}

TEST_CASE("a tab, a blank at a line's end and a missing line end are found") {
  scratch_tree tree;
  tree.write("base/a.cpp", licence + "\tint x;\n");
  CHECK(tree.finds("base/a.cpp", "tab"));
  tree.write("base/a.cpp", licence + "int x; \n");
  CHECK(tree.finds("base/a.cpp", "blank"));
  tree.write("base/a.cpp", licence + "int x;");
  CHECK(tree.finds("base/a.cpp", "line end"));
}

TEST_CASE("an open end without an owner is found, one with an owner is not") {
  scratch_tree tree;
  const std::string todo = std::string{"TO"} + "DO";
  tree.write("base/a.cpp", licence + "// " + todo + "(security): bound this\n");
  CHECK(tree.check().empty());
  tree.write("base/a.cpp", licence + "// " + todo + ": bound this\n");
  CHECK(tree.finds("base/a.cpp", "without an owner"));
  tree.write("base/a.cpp", licence + "// " + std::string{"FIX"} + "ME later\n");
  CHECK(tree.finds("base/a.cpp", "mend it"));
}

TEST_CASE("a path of somebody's machine is found") {
  scratch_tree tree;
  tree.write("base/a.cpp", licence + "// see /ro" + "ot/notes\n");
  CHECK(tree.finds("base/a.cpp", "path of one machine"));
}

TEST_CASE("a thread that is not made by the helper is found") {
  scratch_tree tree;
  tree.write("actors/job.cpp", licence + "std::thread of_its_own;\n");
  CHECK(tree.check().empty());
  tree.write("actors/job.cpp", licence + "auto t = std::thread{[] {}};\n");
  CHECK(tree.finds("actors/job.cpp", "make_thread"));
}

TEST_CASE("a loop over a part of a temporary is found") {
  scratch_tree tree;
  tree.write("tests/job_test.cpp", licence + "for (auto& row : rows[1]) {}\n");
  CHECK(tree.check().empty());
  tree.write("tests/job_test.cpp", licence + "for (auto& row : ask(queue)[1]) {}\n");
  CHECK(tree.finds("tests/job_test.cpp", "keep the answer first"));
}

TEST_CASE("a test that sleeps is found, one that runs the program of that name is not") {
  scratch_tree tree;
  tree.write("tests/job_test.cpp", licence + "run({\"sleep\", \"5\"}); // usleep(3)\n");
  CHECK(tree.check().empty());
  tree.write("tests/job_test.cpp", licence + "std::this_thread::sleep" + "_for(1s);\n");
  CHECK(tree.finds("tests/job_test.cpp", "wait for a condition"));
}

TEST_CASE("a folder without a README is found") {
  scratch_tree tree;
  tree.remove("runtime/plan/README.md");
  CHECK(tree.finds("runtime/plan", "no README"));
}

TEST_CASE("a link that leads nowhere is found") {
  scratch_tree tree;
  tree.write("README.md", "See [the design](docs/design.md).\n");
  CHECK(tree.finds("README.md", "docs/design.md"));
}

TEST_CASE("a document that shows a command which does not exist is found") {
  scratch_tree tree;
  tree.write("README.md", "Start with `troupe start`.\n");
  CHECK(tree.finds("README.md", "troupe start"));
  tree.write("README.md", "```\n$ troupe up|explode\n```\n");
  CHECK(tree.finds("README.md", "explode"));
}

TEST_CASE("comments and literals are no code, digit separators are no literals") {
  const auto code =
      without_comments_and_literals("f(\"a\\\"b\", 'x'); // c\nn = 1'000; /* d\n*/ g();");
  CHECK(code == "f(      ,    );     \nn = 1'000;     \n   g();");
  CHECK(without_comments_and_literals("R\"x(sleep(1))x\" + 1") == std::string(16, ' ') + "+ 1");
}
