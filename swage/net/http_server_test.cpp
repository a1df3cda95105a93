#include "swage/net/http_server.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::net {
namespace {

TEST(HttpServer, ListensAtAFreePortAndSaysWhich) {
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  const auto server = open_http_server(options);
  EXPECT_TRUE(server->address().starts_with("127.0.0.1:"));
  EXPECT_FALSE(server->address().ends_with(":0"));
  EXPECT_EQ(server->next(std::chrono::milliseconds(1)).first, HttpServer::Event::None);
  EXPECT_EQ(server->active(), 0u);
}

TEST(HttpServer, SaysWhatCannotBeListenedAt) {
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  const auto first = open_http_server(options);
  options.address = first->address();
  try {
    open_http_server(options);
    FAIL() << "two servers at one address";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_NE(std::string(e.what()).find(first->address()), std::string::npos) << e.what();
  }
}

TEST(HttpServer, KnowsNothingOfRequestsThatNeverWere) {
  HttpServerOptions options;
  options.address = "127.0.0.1:0";
  const auto server = open_http_server(options);
  EXPECT_THROW(server->request(7), Error);
  EXPECT_FALSE(server->reply(7, 200, {}, "a"));
  EXPECT_FALSE(server->send(7, "a"));
}

}  // namespace
}  // namespace swage::net
