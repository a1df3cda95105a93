// Precompiled for every test program of a folder that uses ATen.
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>
