// inctrl for C++17: handles that close themselves, errors as exceptions. Needs inctrl.h and nothing else.
//
// Everything here is a thin shell around the C interface, whose comments say what the calls do. What scores a frame throws
// nothing: a camera loop looks at the result, which says "review" whatever went wrong.
#ifndef INCTRL_HPP
#define INCTRL_HPP

#include "inctrl.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace inctrl {

/// Why a call failed: the text of inctrl_last_error() and the status.
class Error : public std::runtime_error {
  public:
    Error(std::int32_t status, const std::string &text) : std::runtime_error(text), status_(status) {}
    std::int32_t status() const noexcept { return status_; }

  private:
    std::int32_t status_;
};

/// Throws unless a call succeeded.
inline void check(std::int32_t status) {
    if (status != INCTRL_OK) {
        throw Error(status, inctrl_last_error());
    }
}

/// Throws unless the loaded library has the interface that this header is for.
inline void check_abi() {
    if (inctrl_abi_version() != INCTRL_ABI_VERSION) {
        throw std::runtime_error("the inctrl library has interface " + std::to_string(inctrl_abi_version()) +
                                 ", this program was built for " + std::to_string(INCTRL_ABI_VERSION));
    }
}

/// A structure of the C interface with its size set and all else zero.
template <class T> T sized() {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

/// A picture in the caller's memory, which must live through the calls that get it.
inline inctrl_frame frame(const void *data, std::uint32_t width, std::uint32_t height, std::int32_t format,
                          std::size_t stride = 0) {
    auto frame = sized<inctrl_frame>();
    frame.data = data;
    frame.width = width;
    frame.height = height;
    frame.stride = stride;
    frame.format = format;
    return frame;
}

namespace detail {

template <class T, std::int32_t (*close)(T **)> struct Close {
    void operator()(T *handle) const noexcept { close(&handle); }
};

template <class T, std::int32_t (*close)(T **)> using Handle = std::unique_ptr<T, Close<T, close>>;

} // namespace detail

class Bank;

/// A model on a device; see inctrl_engine_open.
class Engine {
  public:
    explicit Engine(const inctrl_engine_options &options) {
        inctrl_engine *handle = nullptr;
        check(inctrl_engine_open(&options, &handle));
        handle_.reset(handle);
    }

    explicit Engine(const std::string &weights, const std::string &device = "auto", std::uint32_t threads = 0)
        : Engine(options(weights, device, threads)) {}

    void self_test() const { check(inctrl_engine_self_test(get())); }
    std::string model_hash() const { return inctrl_engine_model_hash(get()); }
    std::string device() const { return inctrl_engine_device(get()); }
    const inctrl_engine *get() const noexcept { return handle_.get(); }

  private:
    static inctrl_engine_options options(const std::string &weights, const std::string &device,
                                         std::uint32_t threads) {
        auto options = sized<inctrl_engine_options>();
        options.weights = weights.c_str();
        options.device = device.c_str();
        options.threads = threads;
        return options;
    }

    detail::Handle<inctrl_engine, inctrl_engine_close> handle_;
};

/// The normal images of a class, encoded.
class Bank {
  public:
    static Bank build(const Engine &engine, const std::string &class_name, const std::vector<inctrl_frame> &frames,
                      std::int32_t fit = INCTRL_FIT_CROP, const inctrl_frame *mask = nullptr) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_build(engine.get(), class_name.c_str(), fit, frames.data(), frames.size(), mask, &handle));
        return Bank(handle);
    }

    static Bank open(const std::string &file) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_open(file.c_str(), &handle));
        return Bank(handle);
    }

    void save(const std::string &file) const { check(inctrl_bank_save(get(), file.c_str())); }

    Bank append(const Engine &engine, const std::vector<inctrl_frame> &frames) const {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_append(engine.get(), get(), frames.data(), frames.size(), &handle));
        return Bank(handle);
    }

    Bank with_thresholds(float review, float reject, float cell) const {
        auto limits = sized<inctrl_thresholds>();
        limits.review = review;
        limits.reject = reject;
        limits.cell = cell;
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_with_thresholds(get(), &limits, &handle));
        return Bank(handle);
    }

    std::optional<inctrl_thresholds> thresholds() const {
        auto limits = sized<inctrl_thresholds>();
        std::int32_t present = 0;
        check(inctrl_bank_thresholds(get(), &limits, &present));
        return present != 0 ? std::optional<inctrl_thresholds>(limits) : std::nullopt;
    }

    std::string id() const { return inctrl_bank_id(get()); }
    std::string class_name() const { return inctrl_bank_class_name(get()); }
    std::size_t prompts() const { return inctrl_bank_prompts(get()); }
    const inctrl_bank *get() const noexcept { return handle_.get(); }

  private:
    explicit Bank(inctrl_bank *handle) : handle_(handle) {}
    detail::Handle<inctrl_bank, inctrl_bank_close> handle_;
};

/// A bank for several scorers, to be exchanged under traffic.
class Slot {
  public:
    Slot(const Engine &engine, const Bank &bank) {
        inctrl_slot *handle = nullptr;
        check(inctrl_slot_create(engine.get(), bank.get(), &handle));
        handle_.reset(handle);
    }

    /// Returns the new bank's generation.
    std::uint64_t swap(const Bank &bank) const {
        std::uint64_t generation = 0;
        check(inctrl_slot_swap(get(), bank.get(), &generation));
        return generation;
    }

    const inctrl_slot *get() const noexcept { return handle_.get(); }

  private:
    detail::Handle<inctrl_slot, inctrl_slot_close> handle_;
};

/// The result for a frame, with memory for its map and its regions that is kept from frame to frame.
class Result {
  public:
    /// Room for a map of `cells` residuals (0: no map is written) and for `regions` regions.
    explicit Result(std::size_t cells = 0, std::size_t regions = 64) : map_(cells), regions_(regions) {}

    /// The structure for the C interface.
    inctrl_result *raw() noexcept {
        value_.struct_size = sizeof value_;
        value_.map = map_.empty() ? nullptr : map_.data();
        value_.map_capacity = map_.size();
        value_.regions = regions_.empty() ? nullptr : regions_.data();
        value_.region_capacity = regions_.size();
        return &value_;
    }

    const inctrl_result &operator*() const noexcept { return value_; }
    const inctrl_result *operator->() const noexcept { return &value_; }
    const std::vector<float> &map() const noexcept { return map_; }
    /// The regions that there was room for.
    const inctrl_region *begin() const noexcept { return regions_.data(); }
    const inctrl_region *end() const noexcept {
        return regions_.data() + (value_.region_count < regions_.size() ? value_.region_count : regions_.size());
    }

  private:
    inctrl_result value_{};
    std::vector<float> map_;
    std::vector<inctrl_region> regions_;
};

/// Scores frames; one for each thread or camera.
class Scorer {
  public:
    Scorer(const Engine &engine, const Slot &slot, std::size_t capacity = 1) {
        inctrl_scorer *handle = nullptr;
        check(inctrl_scorer_create(engine.get(), slot.get(), capacity, &handle));
        handle_.reset(handle);
    }

    /// Returns the status, which is in the result, too; throws nothing.
    std::int32_t score(const inctrl_frame &frame, Result &result, std::uint64_t deadline_us = 0) const noexcept {
        return inctrl_scorer_score(get(), &frame, deadline_us, result.raw());
    }

    void warm_up(std::uint32_t width, std::uint32_t height, std::int32_t format, std::uint32_t count = 3) const {
        check(inctrl_scorer_warm_up(get(), width, height, format, count));
    }

    inctrl_health health() const {
        auto health = sized<inctrl_health>();
        check(inctrl_scorer_health(get(), &health));
        return health;
    }

    const inctrl_scorer *get() const noexcept { return handle_.get(); }

  private:
    detail::Handle<inctrl_scorer, inctrl_scorer_close> handle_;
};

} // namespace inctrl

#endif // INCTRL_HPP
