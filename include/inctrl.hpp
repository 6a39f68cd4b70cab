// inctrl for C++17: handles that close themselves, errors as exceptions. It needs only inctrl.h.
//
// Everything here is a thin shell around the C interface, which documents the calls. Functions that fail throw `Error`,
// except scoring: a camera loop checks the result, which is "review" after any error. `check(scorer.score(...))` throws
// there, too. Destructors and moves do not throw. Handles can be moved but not copied. A handle that was moved from is
// empty, and a call on it is INCTRL_ERROR_ARGUMENT. For threads the rules of inctrl.h apply to the handle inside.
#ifndef INCTRL_HPP
#define INCTRL_HPP

#include "inctrl.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace inctrl {

/// Why a call failed: the text of inctrl_last_error() and the status, one of INCTRL_ERROR_*.
class Error : public std::runtime_error {
  public:
    Error(std::int32_t status, const std::string &text) : std::runtime_error(text), status_(status) {}
    std::int32_t status() const noexcept { return status_; }

  private:
    std::int32_t status_;
};

/// Why this thread's last call failed; "" after a successful call. For calls that return a status.
inline std::string last_error() { return inctrl_last_error(); }

/// The version of the loaded library, such as "0.1.0".
inline std::string version() { return inctrl_version(); }

/// Throws unless a call succeeded.
inline void check(std::int32_t status) {
    if (status != INCTRL_OK) {
        throw Error(status, inctrl_last_error());
    }
}

/// Throws unless the loaded library has the interface that this header is for.
inline void check_abi() {
    if (inctrl_abi_version() != INCTRL_ABI_VERSION) {
        throw Error(INCTRL_ERROR_ARGUMENT, "the inctrl library has interface " + std::to_string(inctrl_abi_version()) +
                                               ", this program was built for " +
                                               std::to_string(INCTRL_ABI_VERSION));
    }
}

/// A structure of the C interface with its size set and all other fields zero.
template <class T> T sized() {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

/// A picture in the caller's memory, which must stay valid during the calls that use it. Stride 0 means rows without
/// padding. `white_level` is the value of white if a 16-bit format holds fewer bits; 0 means the format's own.
inline inctrl_frame frame(const void *data, std::uint32_t width, std::uint32_t height, std::int32_t format,
                          std::size_t stride = 0, std::uint32_t white_level = 0) {
    auto frame = sized<inctrl_frame>();
    frame.data = data;
    frame.width = width;
    frame.height = height;
    frame.stride = stride;
    frame.format = format;
    frame.white_level = white_level;
    return frame;
}

/// An ignore mask in the caller's memory, one byte per pixel: pixels other than 0 are ignored.
inline inctrl_frame mask(const std::uint8_t *data, std::uint32_t width, std::uint32_t height, std::size_t stride = 0) {
    return frame(data, width, height, INCTRL_MONO8, stride);
}

/// A view of elements that others own.
template <class T> class View {
  public:
    View(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    const T *begin() const noexcept { return data_; }
    const T *end() const noexcept { return data_ + size_; }
    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const T &operator[](std::size_t i) const noexcept { return data_[i]; }

  private:
    const T *data_;
    std::size_t size_;
};

/// Whether a part is good: only if the verdict is "pass". Missing thresholds, doubts and errors do not pass.
inline bool passed(const inctrl_result &result) noexcept { return result.verdict == INCTRL_VERDICT_PASS; }

/// The defect regions of a result, as many as there was room for, largest residual first. `region_count` is the full
/// number.
inline View<inctrl_region> regions(const inctrl_result &result) noexcept {
    return {result.regions, result.region_count < result.region_capacity ? result.region_count : result.region_capacity};
}

/// The map of a result, grid_rows * grid_cols residuals, row by row. Empty if none was requested, and after an error.
inline View<float> map(const inctrl_result &result) noexcept {
    return {result.map, result.map == nullptr ? 0 : std::size_t{result.grid_rows} * result.grid_cols};
}

namespace detail {

template <class T, std::int32_t (*close)(T **)> struct Close {
    void operator()(T *handle) const noexcept { close(&handle); }
};

template <class T, std::int32_t (*close)(T **)> using Handle = std::unique_ptr<T, Close<T, close>>;

/// A string of a handle; NULL if the handle is NULL.
inline std::string text(const char *text) {
    if (text == nullptr) {
        throw Error(INCTRL_ERROR_ARGUMENT, "the handle was moved from");
    }
    return text;
}

/// A result that nothing was scored into: the same as for a frame that failed.
inline inctrl_result unscored() noexcept {
    auto result = sized<inctrl_result>();
    result.status = INCTRL_ERROR_INTERNAL;
    result.verdict = INCTRL_VERDICT_REVIEW;
    result.reason = INCTRL_REASON_ERROR;
    result.score = result.holistic = result.patch_max = std::numeric_limits<float>::quiet_NaN();
    result.image_residual = result.text_prior = result.score;
    result.p_value = result.scaled = result.score;
    result.map_x = result.map_y = result.map_width = result.map_height = std::numeric_limits<double>::quiet_NaN();
    return result;
}

/// The content of a Result without memory.
inline const inctrl_result &nothing() noexcept {
    static const inctrl_result nothing = unscored();
    return nothing;
}

} // namespace detail

/// Sends the log to a function during the lifetime of this object; see inctrl_set_log_callback. A newer Log takes over.
///
/// The function is called on the thread that logs, by several threads at once. It may call inctrl, but must not create
/// or destroy a Log, or take a lock that is held while a Log is destroyed, which waits for running calls. Exceptions
/// that it throws are dropped.
class Log {
  public:
    explicit Log(std::function<void(std::int32_t level, const char *message)> write) : write_(std::move(write)) {
        const std::lock_guard<std::mutex> lock(mutex());
        inctrl_set_log_callback(call, this);
        newest() = this;
    }

    ~Log() {
        const std::lock_guard<std::mutex> lock(mutex());
        if (newest() == this) {
            inctrl_set_log_callback(nullptr, nullptr);
            newest() = nullptr;
        }
    }

    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;

  private:
    static void call(std::int32_t level, const char *message, void *user) noexcept {
        try {
            static_cast<const Log *>(user)->write_(level, message);
        } catch (...) { // The library's frames are below this one.
        }
    }

    static std::mutex &mutex() noexcept {
        static std::mutex mutex;
        return mutex;
    }

    static const Log *&newest() noexcept {
        static const Log *newest = nullptr;
        return newest;
    }

    std::function<void(std::int32_t, const char *)> write_;
};

/// A model on a device; see inctrl_engine_open.
class Engine {
  public:
    /// `options` is `sized<inctrl_engine_options>()` with the fields that you set.
    explicit Engine(const inctrl_engine_options &options) {
        check_abi();
        inctrl_engine *handle = nullptr;
        check(inctrl_engine_open(&options, &handle));
        handle_.reset(handle);
    }

    explicit Engine(const std::string &weights, const std::string &device = "auto", std::uint32_t threads = 0)
        : Engine(options(weights, device, threads)) {}

    /// Throws if a check fails. Do not inspect with this device then.
    void self_test() const { check(inctrl_engine_self_test(get())); }
    std::string model_hash() const { return detail::text(inctrl_engine_model_hash(get())); }
    std::string device() const { return detail::text(inctrl_engine_device(get())); }
    std::uint32_t grid() const noexcept { return inctrl_engine_grid(get()); }
    /// Cells of a map at the model's own size, as many as a result needs room for. For banks with another size or the
    /// fit INCTRL_FIT_TRIM use Scorer::cells().
    std::size_t cells() const noexcept { return std::size_t{grid()} * grid(); }
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

/// What a bank is built for. Fields that are not set have the defaults of the method and the model.
struct BankOptions {
    std::optional<std::string> method;     // such as "anomaly-dino"
    std::optional<std::string> class_name; // in words
    std::optional<std::int32_t> fit;       // one of INCTRL_FIT_*
    std::vector<std::string> options;      // of the method or of tiles, each "name=value"
    const inctrl_frame *mask = nullptr;    // pixels to ignore
    const inctrl_roi *roi = nullptr;       // the region of each frame that the bank is for
};

/// The normal images of a class, encoded. It never changes.
class Bank {
  public:
    /// A bank of any method.
    static Bank build(const Engine &engine, const BankOptions &options, const std::vector<inctrl_frame> &frames) {
        std::vector<const char *> texts;
        for (const auto &option : options.options) {
            texts.push_back(option.c_str());
        }
        auto given = sized<inctrl_bank_options>();
        given.method = options.method ? options.method->c_str() : nullptr;
        given.class_name = options.class_name ? options.class_name->c_str() : nullptr;
        given.options = texts.data();
        given.option_count = texts.size();
        given.mask = options.mask;
        given.has_fit = options.fit ? 1 : 0;
        given.fit = options.fit.value_or(0);
        given.roi = options.roi;
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_build_with(engine.get(), &given, frames.data(), frames.size(), &handle));
        return Bank(handle);
    }

    /// `fit` has no default: INCTRL_FIT_CROP, as published, cuts the ends off a frame that is not square.
    static Bank build(const Engine &engine, const std::string &class_name, const std::vector<inctrl_frame> &frames,
                      std::int32_t fit, const inctrl_frame *mask = nullptr) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_build(engine.get(), class_name.c_str(), fit, frames.data(), frames.size(), mask, &handle));
        return Bank(handle);
    }

    static Bank build(const Engine &engine, const std::string &class_name, const std::vector<inctrl_frame> &frames,
                      std::int32_t fit, const inctrl_frame &mask) {
        return build(engine, class_name, frames, fit, &mask);
    }

    static Bank open(const std::string &file) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_open(file.c_str(), &handle));
        return Bank(handle);
    }

    /// Ignores the thresholds of the file; with_thresholds() sets others.
    static Bank open_without_thresholds(const std::string &file) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_open_without_thresholds(file.c_str(), &handle));
        return Bank(handle);
    }

    /// From the bytes of a bank's file.
    static Bank from_bytes(const void *data, std::size_t size) {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_from_bytes(data, size, &handle));
        return Bank(handle);
    }

    void save(const std::string &file) const { check(inctrl_bank_save(get(), file.c_str())); }

    /// A longer bank, without thresholds.
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
        return with(&limits);
    }

    Bank with_thresholds(const inctrl_thresholds &limits) const { return with(&limits); }
    Bank without_thresholds() const { return with(nullptr); }

    std::optional<inctrl_thresholds> thresholds() const {
        auto limits = sized<inctrl_thresholds>();
        std::int32_t present = 0;
        check(inctrl_bank_thresholds(get(), &limits, &present));
        return present != 0 ? std::optional<inctrl_thresholds>(limits) : std::nullopt;
    }

    /// The bank with limits from good images; see inctrl_bank_calibrate.
    Bank calibrate(const Engine &engine, const std::vector<inctrl_frame> &frames, double max_false_reject = 0.01,
                   const inctrl_roi *roi = nullptr) const {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_calibrate(engine.get(), get(), frames.data(), frames.size(), roi, max_false_reject, &handle));
        return Bank(handle);
    }

    /// What its limits were computed from, if they were.
    std::optional<inctrl_calibration> calibration() const {
        auto found = sized<inctrl_calibration>();
        std::int32_t present = 0;
        check(inctrl_bank_calibration(get(), &found, &present));
        return present != 0 ? std::optional<inctrl_calibration>(found) : std::nullopt;
    }

    /// How often a good part scores this high or higher; NaN without a calibration.
    double p_value(float score) const noexcept { return inctrl_bank_p_value(get(), score); }

    /// Each of its images against the others, one check for each frame; see inctrl_bank_report. `report` may have room
    /// for the mean map.
    std::vector<inctrl_prompt_check> report(const Engine &engine, const std::vector<inctrl_frame> &frames,
                                            inctrl_report *report = nullptr, const inctrl_roi *roi = nullptr) const {
        std::vector<inctrl_prompt_check> checks(frames.size(), sized<inctrl_prompt_check>());
        check(inctrl_bank_report(engine.get(), get(), frames.data(), frames.size(), roi, checks.data(), report));
        return checks;
    }

    std::size_t rows() const noexcept { return inctrl_bank_rows(get()); }
    std::string id() const { return detail::text(inctrl_bank_id(get())); }
    std::string class_name() const { return detail::text(inctrl_bank_class_name(get())); }
    std::size_t prompts() const noexcept { return inctrl_bank_prompts(get()); }
    const inctrl_bank *get() const noexcept { return handle_.get(); }

  private:
    friend class Appender;
    explicit Bank(inctrl_bank *handle) noexcept : handle_(handle) {}

    Bank with(const inctrl_thresholds *limits) const {
        inctrl_bank *handle = nullptr;
        check(inctrl_bank_with_thresholds(get(), limits, &handle));
        return Bank(handle);
    }

    detail::Handle<inctrl_bank, inctrl_bank_close> handle_;
};

/// A bank for several scorers, which can be replaced while they run.
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

/// Results of several frames or regions. Memory for their maps and defect regions is reused from call to call.
///
/// Before scoring, each result is INCTRL_VERDICT_REVIEW with INCTRL_REASON_ERROR.
class Results {
  public:
    /// Takes memory for `count` results, each with a map of `cells` residuals (0 for no map; see Engine::cells()) and
    /// `regions` regions.
    explicit Results(std::size_t count = 0, std::size_t cells = 0, std::size_t regions = 64)
        : cells_(cells), room_(regions) {
        resize(count);
    }

    /// An object that was moved from has no results and no memory of the caller's.
    Results(Results &&other) noexcept { *this = std::move(other); }
    Results &operator=(Results &&other) noexcept {
        values_ = std::exchange(other.values_, {});
        maps_ = std::exchange(other.maps_, {});
        regions_ = std::exchange(other.regions_, {});
        outside_ = std::exchange(other.outside_, nullptr);
        outside_size_ = std::exchange(other.outside_size_, 0);
        cells_ = std::exchange(other.cells_, 0);
        room_ = std::exchange(other.room_, 0);
        return *this;
    }
    Results(const Results &) = delete; // The structures point into the memory beside them.
    Results &operator=(const Results &) = delete;

    /// Discards all results and makes room for `count`. Allocates only if there were never so many.
    void resize(std::size_t count) {
        values_.clear(); // If memory is short, no old result is left over.
        if ((room_ != 0 && count > regions_.max_size() / room_) || (cells_ != 0 && count > maps_.max_size() / cells_)) {
            throw std::length_error("inctrl::Results: more than memory can hold");
        }
        maps_.resize(outside_ == nullptr ? count * cells_ : 0);
        regions_.resize(count * room_);
        values_.resize(count, detail::unscored());
        float *const maps = outside_ == nullptr ? maps_.data() : outside_;
        const std::size_t fit = cells_ == 0 ? 0 : (outside_ == nullptr ? maps_.size() : outside_size_) / cells_;
        for (std::size_t i = 0; i < count; i++) {
            auto &value = values_[i];
            // A result without room for its map fails, as in C.
            value.map = cells_ == 0 ? nullptr : i < fit ? maps + i * cells_ : maps;
            value.map_capacity = i < fit ? cells_ : 0;
            value.regions = room_ == 0 ? nullptr : regions_.data() + i * room_;
            value.region_capacity = room_;
        }
    }

    /// Writes maps to `size` floats of the caller's memory from now on, one every `cells` floats. The memory must stay
    /// valid while results are scored into it. A result that does not fit fails. NULL returns to the object's own
    /// memory. Discards all results.
    void maps_into(float *memory, std::size_t size, std::size_t cells) {
        outside_ = memory;
        outside_size_ = size;
        cells_ = cells;
        resize(values_.size());
    }

    std::size_t size() const noexcept { return values_.size(); }
    bool empty() const noexcept { return values_.empty(); }
    const inctrl_result &operator[](std::size_t i) const noexcept { return values_[i]; }
    const inctrl_result &at(std::size_t i) const { return values_.at(i); }
    const inctrl_result *begin() const noexcept { return values_.data(); }
    const inctrl_result *end() const noexcept { return values_.data() + values_.size(); }
    /// The structures for the C interface.
    inctrl_result *raw() noexcept { return values_.data(); }

  private:
    std::vector<inctrl_result> values_;
    std::vector<float> maps_;
    std::vector<inctrl_region> regions_;
    float *outside_ = nullptr;
    std::size_t outside_size_ = 0, cells_ = 0, room_ = 0;
};

/// The result of one frame, like one of Results. A Result that was moved from stays "review".
class Result {
  public:
    explicit Result(std::size_t cells = 0, std::size_t regions = 64) : one_(1, cells, regions) {}

    /// Writes the map to `cells` floats of the caller's memory from now on; see Results::maps_into.
    void map_into(float *memory, std::size_t cells) { one_.maps_into(memory, cells, cells); }

    const inctrl_result &operator*() const noexcept { return one_.empty() ? detail::nothing() : one_[0]; }
    const inctrl_result *operator->() const noexcept { return &**this; }
    View<float> map() const noexcept { return inctrl::map(**this); }
    View<inctrl_region> regions() const noexcept { return inctrl::regions(**this); }
    const inctrl_region *begin() const noexcept { return regions().begin(); }
    const inctrl_region *end() const noexcept { return regions().end(); }
    /// The structure for the C interface; NULL after a move, which is an error there.
    inctrl_result *raw() noexcept { return one_.empty() ? nullptr : one_.raw(); }

  private:
    Results one_;
};

/// Scores frames; one for each thread or camera.
class Scorer {
  public:
    Scorer(const Engine &engine, const Slot &slot, std::size_t capacity = 1) {
        inctrl_scorer *handle = nullptr;
        check(inctrl_scorer_create(engine.get(), slot.get(), capacity, &handle));
        handle_.reset(handle);
    }

    /// `options` is `sized<inctrl_scorer_options>()` with the fields that you set, such as `options.late =
    /// INCTRL_LATE_REVIEW`.
    Scorer(const Engine &engine, const Slot &slot, const inctrl_scorer_options &options) {
        inctrl_scorer *handle = nullptr;
        check(inctrl_scorer_create_with(engine.get(), slot.get(), &options, &handle));
        handle_.reset(handle);
    }

    /// Scores one frame. Returns the status, which is also in the result. Does not throw.
    std::int32_t score(const inctrl_frame &frame, Result &result, std::uint64_t deadline_us = 0) const noexcept {
        return inctrl_scorer_score(get(), &frame, deadline_us, result.raw());
    }

    /// Scores `count` frames into `results`, each with its own status. Returns the status of the first frame that
    /// failed. Throws only std::bad_alloc, and only if `results` never had so many; it is empty then.
    std::int32_t score_batch(const inctrl_frame *frames, std::size_t count, Results &results,
                             std::uint64_t deadline_us = 0) const {
        results.resize(count);
        return inctrl_scorer_score_batch(get(), frames, count, deadline_us, results.raw());
    }

    std::int32_t score_batch(const std::vector<inctrl_frame> &frames, Results &results,
                             std::uint64_t deadline_us = 0) const {
        return score_batch(frames.data(), frames.size(), results, deadline_us);
    }

    /// Scores `count` rectangles of one frame, like score_batch. Coordinates in results are in pixels of the whole
    /// frame.
    std::int32_t score_regions(const inctrl_frame &frame, const inctrl_roi *rois, std::size_t count, Results &results,
                               std::uint64_t deadline_us = 0) const {
        results.resize(count);
        return inctrl_scorer_score_regions(get(), &frame, rois, count, deadline_us, results.raw());
    }

    std::int32_t score_regions(const inctrl_frame &frame, const std::vector<inctrl_roi> &rois, Results &results,
                               std::uint64_t deadline_us = 0) const {
        return score_regions(frame, rois.data(), rois.size(), results, deadline_us);
    }

    /// An output of a result of the last call, by its name in the method.
    float output(std::size_t result, const std::string &name) const {
        float value = 0;
        check(inctrl_scorer_output(get(), result, name.c_str(), &value));
        return value;
    }

    /// Cells of the map of a frame of this size with the slot's current bank, as many as a result needs room for.
    std::size_t cells(std::uint32_t width, std::uint32_t height) const {
        std::uint32_t rows = 0, cols = 0;
        check(inctrl_scorer_grid(get(), width, height, &rows, &cols));
        return std::size_t{rows} * cols;
    }

    void warm_up(std::uint32_t width, std::uint32_t height, std::int32_t format, std::uint32_t count = 3) const {
        check(inctrl_scorer_warm_up(get(), width, height, format, count));
    }

    /// Its strings are valid as long as the scorer.
    inctrl_health health() const {
        auto health = sized<inctrl_health>();
        check(inctrl_scorer_health(get(), &health));
        return health;
    }

    const inctrl_scorer *get() const noexcept { return handle_.get(); }

  private:
    detail::Handle<inctrl_scorer, inctrl_scorer_close> handle_;
};

/// A region of a frame and the slots, by their places, that it is compared with; all slots if there are none.
struct Inspection {
    std::optional<inctrl_roi> roi;               // the whole frame if not set
    std::vector<std::size_t> slots;              // places in the list that the scorer was made with
    std::optional<inctrl_thresholds> thresholds; // in place of the limits of the banks
};

/// Scores regions of a frame, each against several banks after one encoding; one for each thread or camera.
class RoiScorer {
  public:
    RoiScorer(const Engine &engine, const std::vector<const Slot *> &slots, std::size_t capacity = 1)
        : RoiScorer(engine, slots, options(capacity)) {}

    /// `options` is `sized<inctrl_scorer_options>()` with the fields that you set.
    RoiScorer(const Engine &engine, const std::vector<const Slot *> &slots, const inctrl_scorer_options &options)
        : slots_(slots.size()) {
        std::vector<const inctrl_slot *> handles;
        for (const auto *slot : slots) {
            handles.push_back(slot == nullptr ? nullptr : slot->get());
        }
        inctrl_roi_scorer *handle = nullptr;
        check(inctrl_roi_scorer_create(engine.get(), handles.data(), handles.size(), &options, &handle));
        handle_.reset(handle);
    }

    /// Scores the regions into `results`: one for each slot of the first, then for each of the second, and so on. Returns
    /// the status of the first region that failed. Throws only std::bad_alloc, and only if there were never so many.
    std::int32_t score(const inctrl_frame &frame, const std::vector<Inspection> &inspections, Results &results,
                       std::uint64_t deadline_us = 0) {
        asked_.clear();
        std::size_t count = 0;
        for (const auto &one : inspections) {
            auto asked = sized<inctrl_inspection>();
            asked.slots = one.slots.empty() ? nullptr : one.slots.data();
            asked.slot_count = one.slots.size();
            asked.thresholds = one.thresholds ? &*one.thresholds : nullptr;
            asked.has_roi = one.roi ? 1 : 0;
            asked.roi = one.roi.value_or(inctrl_roi{});
            asked_.push_back(asked);
            count += one.slots.empty() ? slots_ : one.slots.size();
        }
        results.resize(count);
        return inctrl_roi_scorer_score(get(), &frame, asked_.data(), asked_.size(), deadline_us, results.raw(), count);
    }

    /// Which bank an inspection of the last call fits best, and by how much.
    inctrl_best_bank best(std::size_t inspection) const {
        auto best = sized<inctrl_best_bank>();
        check(inctrl_roi_scorer_best(get(), inspection, &best));
        return best;
    }

    /// An output of a result of the last call, by its name in the method.
    float output(std::size_t result, const std::string &name) const {
        float value = 0;
        check(inctrl_roi_scorer_output(get(), result, name.c_str(), &value));
        return value;
    }

    const inctrl_roi_scorer *get() const noexcept { return handle_.get(); }

  private:
    static inctrl_scorer_options options(std::size_t capacity) {
        auto options = sized<inctrl_scorer_options>();
        options.capacity = capacity;
        return options;
    }

    std::size_t slots_;
    std::vector<inctrl_inspection> asked_;
    detail::Handle<inctrl_roi_scorer, inctrl_roi_scorer_close> handle_;
};

/// Appends images to the bank of a slot while scorers use it; see inctrl_appender_create.
class Appender {
  public:
    /// `options` is `sized<inctrl_append_options>()` with the fields that you set.
    Appender(const Engine &engine, const Slot &slot,
             const inctrl_append_options &options = sized<inctrl_append_options>()) {
        inctrl_appender *handle = nullptr;
        check(inctrl_appender_create(engine.get(), slot.get(), &options, &handle));
        handle_.reset(handle);
    }

    inctrl_appended append(const inctrl_frame &frame) const {
        auto done = sized<inctrl_appended>();
        check(inctrl_appender_append(get(), &frame, &done));
        return done;
    }

    /// With limits from good images before the longer bank is used.
    inctrl_appended append_calibrated(const inctrl_frame &frame, const std::vector<inctrl_frame> &good,
                                      double max_false_reject = 0.01) const {
        auto done = sized<inctrl_appended>();
        check(inctrl_appender_append_calibrated(get(), &frame, good.data(), good.size(), max_false_reject, &done));
        return done;
    }

    /// The bank that it put into the slot last, to save it.
    Bank bank() const {
        inctrl_bank *handle = nullptr;
        check(inctrl_appender_bank(get(), &handle));
        return Bank(handle);
    }

    const inctrl_appender *get() const noexcept { return handle_.get(); }

  private:
    detail::Handle<inctrl_appender, inctrl_appender_close> handle_;
};

} // namespace inctrl

#endif // INCTRL_HPP
