// Errors are told apart by an enumerator of the room that made them, never by that of another room.
#include <gtest/gtest.h>

#include "host/base/result.hpp"

namespace kf {
namespace {

enum class PostFault : unsigned char { late, lost };
std::string_view slug(PostFault f) { return f == PostFault::late ? "post-late" : "post-lost"; }
enum class GateFault : unsigned char { shut };
std::string_view slug(GateFault) { return "gate-shut"; }

Result<int> letter() { return Error{PostFault::lost, "on the way"}; }
Status delivery() {
  KF_CHECK(letter());
  return {};
}

TEST(Errors, AKindMakesTheSlug) {
  const Error e{PostFault::late, "by an hour"};
  EXPECT_EQ(e.reason, "post-late");
  EXPECT_EQ(e.text(), "post-late: by an hour");
  EXPECT_TRUE(e.is(PostFault::late));
  EXPECT_FALSE(e.is(PostFault::lost));
  EXPECT_TRUE(e.is(PostFault::lost, GateFault::shut, PostFault::late)) << "any of them";
}

TEST(Errors, AKindIsOfItsRoomOnly) {
  const Error e{GateFault::shut, ""};
  EXPECT_TRUE(e.is(GateFault::shut));
  EXPECT_FALSE(e.is(PostFault::late)) << "the same number";
  EXPECT_EQ(e.kind.as<GateFault>(), GateFault::shut);
  EXPECT_FALSE(e.kind.as<PostFault>());
}

TEST(Errors, ASlugAloneIsOfNoKind) {
  const Error e{"post-late", "made elsewhere"};
  EXPECT_FALSE(e.is(PostFault::late));
  EXPECT_FALSE(e.kind.as<PostFault>());
  EXPECT_TRUE(e.kind == ErrorKind());
}

TEST(Errors, AKindIsPassedOnWithTheError) { EXPECT_TRUE(delivery().error().is(PostFault::lost)); }

}  // namespace
}  // namespace kf
