// Shared by the tests of this folder: where data lies, SHA-256 of token ids.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/io/test_files.h"

namespace swage::data {

inline std::filesystem::path test_data() { return std::filesystem::path(SWAGE_TEST_DATA) / "data"; }

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline Json read_json(const std::filesystem::path& path) { return parse_json(read_text(path), path.string()); }

// The full data beside the checkout, if it is there.
inline std::optional<std::filesystem::path> full_data() {
  const std::filesystem::path folder = std::filesystem::path(SWAGE_FULL_DATA) / "data";
  return std::filesystem::exists(folder / "calib.jsonl") ? std::optional(folder) : std::nullopt;
}

// A folder with SmolLM2-135M-Instruct, if the environment names one.
inline std::optional<std::filesystem::path> test_model() {
  const char* folder = std::getenv("SWAGE_TEST_MODEL");
  if (folder == nullptr || !std::filesystem::exists(std::filesystem::path(folder) / "tokenizer.json"))
    return std::nullopt;
  return folder;
}

using TemporaryFolder = io::test::TempFolder;

// First 16 hex digits of SHA-256 (FIPS 180-4) of the text.
inline std::string sha_of_text(std::string text) {
  static constexpr std::array<uint32_t, 64> k = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  const uint64_t bits = text.size() * 8;
  text += char(0x80);
  while (text.size() % 64 != 56) text += '\0';
  for (int b = 7; b >= 0; --b) text += char(bits >> (8 * b));
  std::array<uint32_t, 8> h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (size_t at = 0; at < text.size(); at += 64) {
    std::array<uint32_t, 64> w{};
    for (size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | uint8_t(text[at + i]);
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    std::array<uint32_t, 8> s = h;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t s1 = std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25);
      const uint32_t t1 = s[7] + s1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      const uint32_t s0 = std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22);
      const uint32_t t2 = s0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
    }
    for (size_t i = 0; i < 8; ++i) h[i] += s[i];
  }
  char hex[17];
  snprintf(hex, sizeof hex, "%08x%08x", h[0], h[1]);
  return hex;
}

// The same of the ids as little-endian int32.
inline std::string sha_of_ids(const int64_t* ids, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    for (int b = 0; b < 4; ++b) text += char(uint64_t(ids[i]) >> (8 * b));
  }
  return sha_of_text(std::move(text));
}
inline std::string sha_of_ids(const std::vector<int64_t>& ids) { return sha_of_ids(ids.data(), ids.size()); }

inline std::vector<int64_t> as_ids(const Json& json) {
  std::vector<int64_t> ids;
  for (const Json& id : json.as_array()) ids.push_back(id.as_int());
  return ids;
}

// Runs `work`, which must throw, and returns the error.
template <class Work>
Error error_of(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorKind::Internal, "nothing was thrown");
}

}  // namespace swage::data
