#include "swage/checkpoint/writer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/shard_layout.h"
#include "swage/io/atomic_file.h"
#include "swage/io/test_files.h"

namespace swage::checkpoint {
namespace {

using io::Dtype;
using io::TensorSpec;
using io::test::contents_of;
using io::test::expect_error;
using io::test::TempFolder;

struct Plan {
  std::vector<TensorSpec> specs;
  std::vector<at::Tensor> tensors;
};

// Tensors of mixed types, 2 KB to 8 KB each.
Plan small_plan() {
  at::manual_seed(3);
  Plan plan;
  for (int i = 0; i < 12; ++i) {
    const at::ScalarType type = i % 3 == 0 ? at::kChar : i % 3 == 1 ? at::kBFloat16 : at::kFloat;
    plan.tensors.push_back((at::randn({32, 64 + i}) * 50).to(type));
    plan.specs.push_back({cat("layer.", i, ".weight"), dtype_of(type), {32, 64 + i}});
  }
  return plan;
}

void put_all(Writer& writer, const Plan& plan, bool backwards = false) {
  const size_t count = plan.specs.size();
  for (size_t k = 0; k < count; ++k) {
    const size_t i = backwards ? count - 1 - k : k;
    writer.put(plan.specs[i].name, plan.tensors[i]);
  }
}

void expect_holds(const std::filesystem::path& folder, const Plan& plan) {
  const Reader reader(folder);
  ASSERT_EQ(reader.tensors().size(), plan.specs.size());
  for (size_t i = 0; i < plan.specs.size(); ++i) {
    EXPECT_EQ(*reader.find(plan.specs[i].name), plan.specs[i]);
    EXPECT_TRUE(reader.read(plan.specs[i].name).equal(plan.tensors[i])) << plan.specs[i].name;
    EXPECT_EQ(reader.view(plan.specs[i].name).const_data_ptr(),
              static_cast<const void*>(reader.bytes(plan.specs[i].name).data()))
        << "not aligned: " << plan.specs[i].name;
  }
}

std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files[entry.path().filename()] = contents_of(entry.path());
  return files;
}

TEST(Writer, WritesOneFileThatReadsBack) {
  const TempFolder folder;
  const Plan plan = small_plan();
  Writer writer(folder / "out", plan.specs);
  put_all(writer, plan);
  writer.add_file("config.json", "{}");
  writer.copy_file(folder.write("t.json", "[1]"), "tokenizer.json");
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  writer.finish();
  expect_holds(folder / "out", plan);
  const auto files = files_of(folder / "out");
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files.at("config.json"), "{}");
  EXPECT_EQ(files.at("tokenizer.json"), "[1]");
  EXPECT_EQ(files.count("model.safetensors"), 1u);
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(Writer, ShardsReadBackBeforeAndAfterTheEnd) {
  const TempFolder folder;
  const Plan plan = small_plan();
  Writer writer(folder / "out", plan.specs, {.shard_bytes = 10'000});
  put_all(writer, plan);
  writer.close_shards();
  expect_holds(writer.temporary(), plan);
  writer.finish();
  expect_holds(folder / "out", plan);
  EXPECT_TRUE(files_of(folder / "out").contains("model.safetensors.index.json"));
}

TEST(Writer, BytesDoNotDependOnTheOrderOrTheThreads) {
  const TempFolder folder;
  const Plan plan = small_plan();
  const WriterOptions options{.shard_bytes = 10'000};
  Writer forwards(folder / "a", plan.specs, options), backwards(folder / "b", plan.specs, options),
      threads(folder / "c", plan.specs, options);
  put_all(forwards, plan);
  put_all(backwards, plan, true);
  std::vector<std::thread> pool;
  for (size_t t = 0; t < 4; ++t) {
    pool.emplace_back([&, t] {
      for (size_t i = t; i < plan.specs.size(); i += 4) threads.put(plan.specs[i].name, plan.tensors[i]);
    });
  }
  for (std::thread& thread : pool) thread.join();
  for (Writer* writer : {&forwards, &backwards, &threads}) writer->finish();
  EXPECT_EQ(files_of(folder / "a"), files_of(folder / "b"));
  EXPECT_EQ(files_of(folder / "a"), files_of(folder / "c"));
}

TEST(Writer, TakesWhatReadGives) {
  const TempFolder folder;
  Writer writer(folder / "out", {{"scale", Dtype::F8E8M0, {4}},
                                 {"four", Dtype::F4, {2, 6}},
                                 {"strided", Dtype::F32, {3, 2}},
                                 {"none", Dtype::I32, {0}}});
  writer.put("scale", at::arange(4, at::kByte));
  writer.put("four", at::arange(6, at::kByte).view({2, 3}));
  writer.put("strided", at::arange(6, at::kFloat).view({2, 3}).t());
  writer.put("none", at::empty({0}, at::kInt));
  writer.finish();
  const Reader reader(folder / "out");
  EXPECT_EQ(reader.find("four")->shape, (std::vector<int64_t>{2, 6}));
  EXPECT_TRUE(reader.read("scale").equal(at::arange(4, at::kByte)));
  EXPECT_TRUE(reader.read("strided").equal(at::arange(6, at::kFloat).view({2, 3}).t()));
}

TEST(Writer, NoTensorsStillMakeACheckpoint) {
  const TempFolder folder;
  Writer(folder / "out", {}).finish();
  EXPECT_TRUE(Reader(folder / "out").tensors().empty());
}

TEST(Writer, LeavesNothingWithoutFinish) {
  const TempFolder folder;
  const Plan plan = small_plan();
  {
    Writer writer(folder / "deep/er/out", plan.specs);
    writer.put(plan.specs[0].name, plan.tensors[0]);
    EXPECT_TRUE(std::filesystem::exists(writer.temporary()));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(Writer, HoldsTheCallerToThePlan) {
  const TempFolder folder;
  Writer writer(folder / "out", {{"w", Dtype::F32, {2, 3}}, {"v", Dtype::F32, {1}}});
  const auto expect_refused = [&](std::string_view words, const std::string& name, const at::Tensor& tensor) {
    expect_error(ErrorKind::Internal, words, [&] { writer.put(name, tensor); });
  };
  expect_refused("which was not planned", "x", at::zeros({1}));
  expect_refused("planned as F32 [2, 3], got Float [3, 2]", "w", at::zeros({3, 2}));
  expect_refused("planned as F32 [2, 3], got Half [2, 3]", "w", at::zeros({2, 3}, at::kHalf));
  expect_refused("it is undefined", "w", {});
  expect_error(ErrorKind::Internal, "planned with 24 bytes, got 1", [&] { writer.put_bytes("w", "x"); });
  writer.put("w", at::zeros({2, 3}));
  expect_refused("a second time", "w", at::zeros({2, 3}));
  expect_error(ErrorKind::Internal, "\"v\" was not written", [&] { writer.finish(); });
  writer.put_bytes("v", "1234");
  writer.close_shards();
  expect_refused("after the shards were closed", "v", at::zeros({1}));
  for (const char* name : {"", "..", "a/b"})
    expect_error(ErrorKind::Internal, "plain file name", [&] { writer.add_file(name, ""); });
  expect_error(ErrorKind::Internal, "makes this file itself", [&] { writer.add_file("model.safetensors", ""); });
  expect_error(ErrorKind::Io, "absent: cannot open", [&] { writer.copy_file(folder / "absent", "f"); });
}

TEST(Writer, TakesTensorsInPieces) {
  const TempFolder folder;
  Writer writer(folder / "out", {{"w", Dtype::U8, {6}}, {"z", Dtype::U8, {0}}});
  const auto expect_refused = [&](std::string_view words, uint64_t offset, std::string_view bytes) {
    expect_error(ErrorKind::Internal, words, [&] { writer.put_part("w", offset, bytes); });
  };
  writer.put_part("w", 4, "ef");
  expect_error(ErrorKind::Internal, "\"w\" was not written", [&] { writer.finish(); });
  expect_refused("planned with 6 bytes, got 2 at 5", 5, "xx");
  expect_refused("planned with 6 bytes, got 1 at 7", 7, "x");
  expect_refused("a second time", 0, "xxxxx");
  writer.put_part("w", 0, "abcd");
  expect_refused("a second time", 0, "x");
  expect_error(ErrorKind::Internal, "\"z\" was not written", [&] { writer.finish(); });
  writer.put_part("z", 0, "");
  writer.finish();
  EXPECT_EQ(Reader(folder / "out").bytes("w"), "abcdef");
}

TEST(Writer, RefusesAnOccupiedTargetAtTheStart) {
  const TempFolder folder;
  folder.write("file", "x");
  expect_error(ErrorKind::InvalidArgument, "exists and is not a folder",
               [&] { Writer(folder / "file", {}, {.overwrite = true}); });
  expect_error(ErrorKind::InvalidArgument, "exists and is not empty", [&] { Writer(folder.path(), {}); });
  expect_error(ErrorKind::InvalidArgument, "name is empty", [] { Writer("", {}); });
  expect_error(ErrorKind::InvalidArgument, "is planned twice",
               [&] { Writer(folder / "out", {{"w", Dtype::U8, {1}}, {"w", Dtype::U8, {1}}}, {.shard_bytes = 1}); });
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(Writer, OverwriteReplacesAtTheVeryEnd) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "out/sub");
  std::ofstream(folder / "out/old.txt") << "old";
  const Plan plan = small_plan();
  Writer writer(folder / "out/", plan.specs, {.overwrite = true});
  put_all(writer, plan);
  writer.close_shards();
  EXPECT_TRUE(std::filesystem::exists(folder / "out/old.txt"));
  writer.finish();
  expect_holds(folder / "out", plan);
  EXPECT_EQ(files_of(folder / "out").size(), 1u);
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(Writer, AnEmptyTargetIsFilledAndALinkedOneFollowed) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "real");
  std::filesystem::create_directory_symlink("real", folder / "link");
  Writer(folder / "link", {}).finish();
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_TRUE(std::filesystem::exists(folder / "real/model.safetensors"));
}

TEST(Writer, ATargetThatAppearsMeanwhileIsKept) {
  const TempFolder folder;
  Writer writer(folder / "out", {});
  std::filesystem::create_directory(folder / "out");
  std::ofstream(folder / "out/other") << "x";
  expect_error(ErrorKind::InvalidArgument, "exists and is not empty", [&] { writer.finish(); });
  EXPECT_EQ(files_of(folder / "out").count("other"), 1u);
}

TEST(Writer, NamesAPlaceThatCannotBeWritten) {
  const TempFolder folder;
  folder.write("file", "x");
  expect_error(ErrorKind::Io, "cannot make the folder", [&] { Writer(folder / "file/out", {}); });
  expect_error(ErrorKind::Io, "cannot make the folder", [] { Writer("/proc/out", {}); });
  EXPECT_EQ(folder.entries(), 1u);
}

// 2^50 bytes are more than any disk here has.
TEST(Writer, SaysWhatIsNeededAndFreeOnAFullDisk) {
  const TempFolder folder;
  const std::vector<TensorSpec> huge{{"w", Dtype::U8, {int64_t{1} << 50}}};
  expect_error(ErrorKind::Io, "not enough disk space: 1125899906842", [&] { Writer(folder / "out", huge); });
  expect_error(ErrorKind::Io, " free", [&] { Writer(folder / "out", huge); });
  EXPECT_EQ(folder.entries(), 0u);
}

// A limit on file size stands in for a disk that fills between the check and the reservation.
TEST(Writer, ReportsAFailedReservationAndCleansUp) {
  const TempFolder folder;
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(ErrorKind::Io, "bytes needed", [&] { Writer(folder / "out", {{"w", Dtype::U8, {5000}}}); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(folder.entries(), 0u);
}

// A run killed in the middle leaves its work folder; the next one with the same target removes it.
TEST(Writer, RemovesWhatADeadRunLeft) {
  const TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    new Writer(folder / "out", {{"w", Dtype::U8, {5000}}});
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(std::filesystem::file_size(folder / ".out.partial/output/model.safetensors") / 1000, 5u);
  const Writer living(folder / "out", {});
  EXPECT_LT(std::filesystem::file_size(living.temporary() / "model.safetensors"), 5000u);
}

TEST(Writer, RefusesAFolderThatAnotherRunWrites) {
  const TempFolder folder;
  Writer living(folder / "out", {});
  expect_error(
      ErrorKind::InvalidArgument,
      cat("another run is at work on this output folder (host and process ", io::host_name(), " ", ::getpid(), ")"),
      [&] { Writer(folder / "out", {}); });
  EXPECT_TRUE(std::filesystem::exists(living.temporary()));
  living.finish();
  EXPECT_EQ(folder.entries(), 1u);
}

// Half of the tensors, the death of the process, the other half: the same bytes as in one go.
TEST(Writer, GoesOnWithTheShardsOfAnEarlierRun) {
  const TempFolder folder;
  const std::vector<TensorSpec> specs{{"a", Dtype::U8, {3}}, {"b", Dtype::I32, {2}}, {"c", Dtype::U8, {1}}};
  const pid_t child = ::fork();
  if (child == 0) {
    Writer* writer = new Writer(folder / "out", specs, {.shard_bytes = 5});
    writer->put_bytes("b", "bbbbbbbb");
    writer->put_part("a", 1, "aa");
    writer->put_bytes("c", "c");
    ::_exit(writer->sync_written() == std::vector<std::string>{"b", "c"} && writer->sync_written().empty() ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  folder.write(".out.partial/journal", "");
  expect_error(ErrorKind::InvalidArgument, "an unfinished run with this output is kept in",
               [&] { Writer(folder / "out", specs, {.shard_bytes = 5}); });
  expect_error(ErrorKind::CorruptData, "is not as the unfinished run left it", [&] {
    Writer(OutputFolder(folder / "out", false), {{"a", Dtype::I8, {3}}, specs[1], specs[2]},
           {.shard_bytes = 5, .resume = true});
  });
  Writer writer(OutputFolder(folder / "out", false), specs, {.shard_bytes = 5, .resume = true});
  writer.restore("b");
  writer.restore("c");
  expect_error(ErrorKind::Internal, "written already", [&] { writer.restore("b"); });
  expect_error(ErrorKind::Internal, "a second time", [&] { writer.put_bytes("b", "bbbbbbbb"); });
  EXPECT_EQ(writer.read_back("b").const_data_ptr<int32_t>()[1], 0x62626262);
  expect_error(ErrorKind::Internal, "\"a\" was not written", [&] { writer.close_shards(); });
  writer.put_bytes("a", "aaa");
  writer.finish();
  Writer whole(folder / "whole", specs, {.shard_bytes = 5});
  whole.put_bytes("a", "aaa");
  whole.put_bytes("b", "bbbbbbbb");
  whole.put_bytes("c", "c");
  whole.finish();
  for (const auto& entry : std::filesystem::directory_iterator(folder / "whole")) {
    EXPECT_EQ(io::read_file(entry.path()), io::read_file(folder / "out" / entry.path().filename())) << entry.path();
  }
  EXPECT_EQ(folder.entries(), 2u);
}

// Kept if asked for, gone if not; a result that is in place is not taken for an unfinished run.
TEST(OutputFolder, KeepsAnUnfinishedRunAndTidiesAfterAFinishedOne) {
  const TempFolder folder;
  {
    OutputFolder first(folder / "out", false);
    first.clear();
    folder.write(".out.partial/journal", "x");
    first.keep(true);
  }
  EXPECT_EQ(OutputFolder::unfinished_work(folder / "out"), std::filesystem::canonical(folder.path()) / ".out.partial");
  {
    OutputFolder second(folder / "out", false);
    EXPECT_TRUE(second.holds_unfinished_run());
    EXPECT_TRUE(std::filesystem::exists(second.temporary()));
  }
  ASSERT_TRUE(std::filesystem::exists(folder / ".out.partial/journal"));
  {
    OutputFolder third(folder / "out", false);
    third.commit();
  }
  EXPECT_EQ(folder.entries(), 1u);
  struct stat status{};
  ASSERT_EQ(::stat((folder / "out").c_str(), &status), 0);
  std::filesystem::create_directory(folder / ".out.partial");
  folder.write(".out.partial/journal", "x");
  folder.write(".out.partial/finished", cat(status.st_dev, " ", status.st_ino));
  OutputFolder::tidy(folder / "out");
  EXPECT_EQ(folder.entries(), 1u);
  std::filesystem::create_directory(folder / ".out.partial");  // it was killed while it removed this
  OutputFolder::tidy(folder / "out");
  EXPECT_EQ(folder.entries(), 1u);
  const OutputFolder living(folder / "out", true);
  OutputFolder::tidy(folder / "out");
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(ShardLayout, FillsShardsInOrderUpToTheirLimit) {
  const std::vector<TensorSpec> specs{{"a", Dtype::U8, {6}},
                                      {"b", Dtype::U8, {4}},
                                      {"c", Dtype::U8, {30}},
                                      {"d", Dtype::U8, {1}},
                                      {"e", Dtype::F16, {1}}};
  const ShardLayout layout = plan_shards(specs, 10);
  ASSERT_EQ(layout.shards.size(), 3u);
  EXPECT_EQ(layout.tensor_bytes, 43u);
  const auto shard = [&](const char* name) { return layout.tensors.at(name).shard; };
  EXPECT_EQ((std::vector<size_t>{shard("a"), shard("b"), shard("c"), shard("d"), shard("e")}),
            (std::vector<size_t>{0, 0, 1, 2, 2}));
  EXPECT_EQ(layout.tensors.at("e").offset, layout.shards[2].header.size());  // wide elements first
  EXPECT_EQ(layout.tensors.at("d").offset, layout.shards[2].header.size() + 2);
  EXPECT_EQ(layout.shards[0].name, "model-00001-of-00003.safetensors");
}

}  // namespace
}  // namespace swage::checkpoint
