/*
 * inctrl: few-shot anomaly detection. The C interface.
 *
 * Made from the comments of src/ffi by cbindgen; change it there.
 *
 * - Every function that can fail returns INCTRL_OK or the kind of the error; inctrl_last_error() has the text.
 *   Those that return a string or a number say NULL or 0 where the handle is none, and leave that text alone.
 * - Handles come from *_open, *_build, *_create and so on, and go with *_close, which sets the variable to NULL.
 *   Closing NULL is fine. A handle must not be closed while another thread uses it.
 * - An engine, a bank and a slot can be used by any number of threads at once, a scorer by one at a time.
 * - Structures begin with their size. Set all of a structure to zero, then struct_size, then what you need.
 * - An engine has threads of its own, which block signals. In a child of fork(), handles can be closed, and those that no thread
 *   was using can be used, but for CUDA; docs/embedding.md says more.
 * - Memory that you pass in is yours, and is not used after the call. Memory that you get is the library's.
 * - Out of memory: sizes that you choose are INCTRL_ERROR_DEVICE before anything is taken. A calling thread needs 64 KB of
 *   stack. docs/embedding.md has the rules in full.
 */


#ifndef INCTRL_H
#define INCTRL_H

#include <stddef.h>
#include <stdint.h>

/**
 * Version of this interface: the library of a client that was built with another one does not fit.
 */
#define INCTRL_ABI_VERSION 1

/**
 * Status: done.
 */
#define INCTRL_OK 0

/**
 * Status: the operating system refused; a file is missing or unreadable, or the disk is full.
 */
#define INCTRL_ERROR_IO 1

/**
 * Status: a weights file is damaged or not of its architecture.
 */
#define INCTRL_ERROR_WEIGHTS 2

/**
 * Status: a model configuration is malformed or not supported.
 */
#define INCTRL_ERROR_CONFIG 3

/**
 * Status: an image cannot be decoded or is outside the limits.
 */
#define INCTRL_ERROR_IMAGE 4

/**
 * Status: a bank is damaged, of another format version, or of another model.
 */
#define INCTRL_ERROR_BANK 5

/**
 * Status: an argument is NULL, out of range, or contradicts another.
 */
#define INCTRL_ERROR_ARGUMENT 6

/**
 * Status: the device is not there, has no memory left, or has failed.
 */
#define INCTRL_ERROR_DEVICE 7

/**
 * Status: a result is not a finite number.
 */
#define INCTRL_ERROR_NUMERIC 8

/**
 * Status: a bug in the library.
 */
#define INCTRL_ERROR_INTERNAL 9

/**
 * Status: a scorer was used by two threads at once; the call did nothing.
 */
#define INCTRL_ERROR_BUSY 10

/**
 * Log level: a call failed.
 */
#define INCTRL_LOG_ERROR 1

/**
 * Log level: something may be wrong that is no error.
 */
#define INCTRL_LOG_WARNING 2

/**
 * Log level: something happened that an operator may want to know, such as a swap of banks.
 */
#define INCTRL_LOG_INFO 3

/**
 * Pixel format: one byte of luminance.
 */
#define INCTRL_MONO8 1

/**
 * Pixel format: two bytes of luminance, the less significant first, most significant bit aligned: 65535 is white. Mono10 and
 * Mono12 as cameras deliver them unpacked are not: they are INCTRL_MONO10 and INCTRL_MONO12. Other ranges have a `white_level`.
 */
#define INCTRL_MONO16 2

/**
 * Pixel format: red, green, blue.
 */
#define INCTRL_RGB8 3

/**
 * Pixel format: blue, green, red.
 */
#define INCTRL_BGR8 4

/**
 * Pixel format: red, green, blue, alpha; alpha is dropped.
 */
#define INCTRL_RGBA8 5

/**
 * Pixel format: blue, green, red, alpha; alpha is dropped.
 */
#define INCTRL_BGRA8 6

/**
 * Pixel format: colour filter array, first row red, green, second row green, blue.
 */
#define INCTRL_BAYER_RG8 7

/**
 * Pixel format: colour filter array, first row green, red, second row blue, green.
 */
#define INCTRL_BAYER_GR8 8

/**
 * Pixel format: colour filter array, first row green, blue, second row red, green.
 */
#define INCTRL_BAYER_GB8 9

/**
 * Pixel format: colour filter array, first row blue, green, second row green, red.
 */
#define INCTRL_BAYER_BG8 10

/**
 * Pixel format: GenICam's Mono10, two bytes as INCTRL_MONO16, the value in the lower 10 bits; larger values are white.
 */
#define INCTRL_MONO10 11

/**
 * Pixel format: GenICam's Mono12, two bytes as INCTRL_MONO16, the value in the lower 12 bits; larger values are white.
 */
#define INCTRL_MONO12 12

/**
 * Pixel format: GenICam's Mono10p, four pixels in five bytes, from the least significant bit on. Each row begins at a byte; where
 * the width does not fill the last one, `stride` must be given. The same holds for the two formats below.
 */
#define INCTRL_MONO10P 13

/**
 * Pixel format: GenICam's Mono12p, two pixels in three bytes, from the least significant bit on.
 */
#define INCTRL_MONO12P 14

/**
 * Pixel format: Mono12Packed of GigE Vision, two pixels in three bytes: upper bits, lower bits of both, upper bits.
 */
#define INCTRL_MONO12_PACKED 15

/**
 * Pixel format: as INCTRL_BAYER_RG8, pixels as those of INCTRL_MONO10. Likewise the eleven below.
 */
#define INCTRL_BAYER_RG10 16

/**
 * Pixel format: as INCTRL_BAYER_GR8, pixels as those of INCTRL_MONO10.
 */
#define INCTRL_BAYER_GR10 17

/**
 * Pixel format: as INCTRL_BAYER_GB8, pixels as those of INCTRL_MONO10.
 */
#define INCTRL_BAYER_GB10 18

/**
 * Pixel format: as INCTRL_BAYER_BG8, pixels as those of INCTRL_MONO10.
 */
#define INCTRL_BAYER_BG10 19

/**
 * Pixel format: as INCTRL_BAYER_RG8, pixels as those of INCTRL_MONO12.
 */
#define INCTRL_BAYER_RG12 20

/**
 * Pixel format: as INCTRL_BAYER_GR8, pixels as those of INCTRL_MONO12.
 */
#define INCTRL_BAYER_GR12 21

/**
 * Pixel format: as INCTRL_BAYER_GB8, pixels as those of INCTRL_MONO12.
 */
#define INCTRL_BAYER_GB12 22

/**
 * Pixel format: as INCTRL_BAYER_BG8, pixels as those of INCTRL_MONO12.
 */
#define INCTRL_BAYER_BG12 23

/**
 * Pixel format: as INCTRL_BAYER_RG8, pixels as those of INCTRL_MONO16.
 */
#define INCTRL_BAYER_RG16 24

/**
 * Pixel format: as INCTRL_BAYER_GR8, pixels as those of INCTRL_MONO16.
 */
#define INCTRL_BAYER_GR16 25

/**
 * Pixel format: as INCTRL_BAYER_GB8, pixels as those of INCTRL_MONO16.
 */
#define INCTRL_BAYER_GB16 26

/**
 * Pixel format: as INCTRL_BAYER_BG8, pixels as those of INCTRL_MONO16.
 */
#define INCTRL_BAYER_BG16 27

/**
 * Memory of a frame: the host's, pageable or pinned.
 */
#define INCTRL_MEMORY_HOST 0

/**
 * Memory of a frame: that of the engine's own CUDA device, managed memory, or pinned host memory that the device maps.
 *
 * INCTRL_MONO8 and INCTRL_RGB8 are read where they are. Other formats, frames of a bank with an ignore mask, and the normal
 * images of a bank are copied to the host first, which is slower than a frame that begins there. The work that writes the
 * frame must be done, not only queued, before the call. The device that `data` belongs to and the length of its allocation
 * are checked: host memory, memory of another device or context, freed memory and a picture that is longer than its
 * allocation are INCTRL_ERROR_ARGUMENT, and so is device memory on an engine on the processor.
 */
#define INCTRL_MEMORY_CUDA 1

/**
 * Precision of a GPU: half, the default.
 */
#define INCTRL_PRECISION_F16 0

/**
 * Precision of a GPU: single, for diagnosis.
 */
#define INCTRL_PRECISION_F32 1

/**
 * Fit: the shorter side fills the model's input and the middle of the longer one is seen, as published. Pixels
 * outside the middle square are not inspected; the log says how much of a bank's normal images that is.
 */
#define INCTRL_FIT_CROP 0

/**
 * Fit: the whole frame is seen, padded to a square; padding is not judged.
 */
#define INCTRL_FIT_LETTERBOX 1

/**
 * Fit: the whole frame is seen, stretched to a square.
 */
#define INCTRL_FIT_STRETCH 2

/**
 * Fit: the whole frame is seen, but for less than a patch at the right and at the bottom; the model's input is as wide or as
 * tall as the frame. For methods that take maps of any rows and columns.
 */
#define INCTRL_FIT_TRIM 3

/**
 * Verdict: the bank has no thresholds.
 */
#define INCTRL_VERDICT_NONE 0

/**
 * Verdict: below every limit.
 */
#define INCTRL_VERDICT_PASS 1

/**
 * Verdict: doubtful; also whatever could not be scored.
 */
#define INCTRL_VERDICT_REVIEW 2

/**
 * Verdict: the score reaches the limit `reject`.
 */
#define INCTRL_VERDICT_REJECT 3

/**
 * Reason: no verdict.
 */
#define INCTRL_REASON_NONE 0

/**
 * Reason: nothing reaches its limit.
 */
#define INCTRL_REASON_BELOW 1

/**
 * Reason: the score of the image as a whole; no region.
 */
#define INCTRL_REASON_SCORE 2

/**
 * Reason: regions; the score alone would pass.
 */
#define INCTRL_REASON_REGIONS 3

/**
 * Reason: score and regions.
 */
#define INCTRL_REASON_SCORE_AND_REGIONS 4

/**
 * Reason: an error; see `status` of the result.
 */
#define INCTRL_REASON_ERROR 5

/**
 * Reason: the result came after the deadline, and the scorer was made with INCTRL_LATE_REVIEW.
 */
#define INCTRL_REASON_LATE 6

/**
 * Late: a late result is marked by its field `late`; its verdict stays.
 */
#define INCTRL_LATE_MARK 0

/**
 * Late: a late result is marked, and never passes: where it would be INCTRL_VERDICT_PASS or INCTRL_VERDICT_NONE, it is
 * INCTRL_VERDICT_REVIEW for INCTRL_REASON_LATE.
 */
#define INCTRL_LATE_REVIEW 1

/**
 * The normal images of a class, encoded. It never changes; any number of threads may use it at once.
 */
typedef struct inctrl_bank inctrl_bank;

/**
 * A model on a device. Any number of threads may use it at once.
 */
typedef struct inctrl_engine inctrl_engine;

/**
 * Scores frames against the bank of a slot. Make one for each thread or camera: any thread may use it, but only one at a time;
 * a second thread gets INCTRL_ERROR_BUSY.
 */
typedef struct inctrl_scorer inctrl_scorer;

/**
 * A bank that several scorers use, and that can be exchanged. Any number of threads may use it at once.
 */
typedef struct inctrl_slot inctrl_slot;

/**
 * Receives a line of the log: its level, its text (UTF-8, valid during the call), and the pointer given with the callback.
 *
 * Called on whichever thread logs, by several at once, before the call that logs returns. It may call inctrl functions, also
 * inctrl_set_log_callback; what fails in them meanwhile is not logged. An exception that leaves it ends the process.
 */
typedef void (*inctrl_log_callback)(int32_t level, const char *message, void *user);

/**
 * How to open an engine. Begin with `inctrl_engine_options options = {0}; options.struct_size = sizeof options;`.
 */
typedef struct inctrl_engine_options {
    /**
     * sizeof(inctrl_engine_options).
     */
    size_t struct_size;
    /**
     * The weights, a safetensors file. It stays open until the engine and all that came from it are closed: replace it by
     * renaming another one over it. One that was written into or cut short is an error.
     */
    const char *weights;
    /**
     * The heads, where they are in a file of their own, or NULL.
     */
    const char *heads;
    /**
     * The configuration, where it is neither in the weights nor beside them, or NULL.
     */
    const char *config;
    /**
     * "auto", "cpu", "cuda" or "cuda:N"; NULL is "auto".
     */
    const char *device;
    /**
     * Threads on the processor, for all scorers together; 0 for all cores. The engine starts one less, as the thread that
     * calls a scorer is one of them. With as many scorers at work as threads, each works on its caller's thread alone.
     */
    uint32_t threads;
    /**
     * Precision of a GPU.
     */
    int32_t precision;
} inctrl_engine_options;

/**
 * A picture in the caller's memory, which is only read, and only during the call.
 *
 * Begin with `inctrl_frame frame = {0}; frame.struct_size = sizeof frame;`, so that fields of later versions are zero.
 */
typedef struct inctrl_frame {
    /**
     * sizeof(inctrl_frame).
     */
    size_t struct_size;
    /**
     * The first pixel of the top row: for INCTRL_MEMORY_CUDA, a CUdeviceptr as a pointer.
     */
    const void *data;
    /**
     * Pixels in a row.
     */
    uint32_t width;
    /**
     * Number of rows.
     */
    uint32_t height;
    /**
     * Bytes from the beginning of one row to that of the next; 0 for rows without padding. Unsigned: a picture that is stored
     * from the bottom up must be turned over first.
     */
    size_t stride;
    /**
     * One of the pixel formats.
     */
    int32_t format;
    /**
     * Where `data` points: INCTRL_MEMORY_HOST, which is 0, or INCTRL_MEMORY_CUDA.
     */
    int32_t memory;
    /**
     * The value of white, from 255 on: larger ones are white, too. 0 for that of the format: 255, 1023, 4095 or 65535.
     *
     * Needed where a 16-bit format holds fewer bits, such as 16383 for 14. 16-bit values that use less than a sixteenth of their
     * range are in doubt without it: an error in a normal image of a bank, a warning in the log when they are scored. 65535 says
     * that they are right.
     */
    uint32_t white_level;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} inctrl_frame;

/**
 * What a bank is built for. Begin with `inctrl_bank_options options = {0}; options.struct_size = sizeof options;`: what is left 0
 * is as by default.
 */
typedef struct inctrl_bank_options {
    /**
     * sizeof(inctrl_bank_options).
     */
    size_t struct_size;
    /**
     * The method by name, such as "anomaly-dino", or NULL: "inctrl", where the model can serve it.
     */
    const char *method;
    /**
     * The class in words, in UTF-8, or NULL: "object" for methods that read it, nothing for others.
     */
    const char *class_name;
    /**
     * `option_count` texts "name=value", options of the method: the program's help and docs/embedding.md list them.
     */
    const char *const *options;
    /**
     * How many.
     */
    size_t option_count;
    /**
     * Pixels that are not judged, as for inctrl_bank_build, or NULL.
     */
    const struct inctrl_frame *mask;
    /**
     * 1 where `fit` counts; with 0 the fit is that of the method, or of the model's training.
     */
    int32_t has_fit;
    /**
     * One of the fits.
     */
    int32_t fit;
} inctrl_bank_options;

/**
 * The limits of a verdict. A value that reaches a limit is past it. All lie in the range of what they judge, which is [0, 1] for
 * "inctrl" and [0, 2] for "anomaly-dino", and are not percent: a limit above it would never be reached, and is refused, as are NaN
 * and a `review` above `reject`.
 *
 * Begin with `inctrl_thresholds limits = {0}; limits.struct_size = sizeof limits;`.
 */
typedef struct inctrl_thresholds {
    /**
     * sizeof(inctrl_thresholds).
     */
    size_t struct_size;
    /**
     * Score from which a part is sent to manual review; at most `reject`.
     */
    float review;
    /**
     * Score from which the part is rejected.
     */
    float reject;
    /**
     * Residual from which a cell of the map is defective.
     */
    float cell;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} inctrl_thresholds;

/**
 * How a scorer works. Begin with `inctrl_scorer_options options = {0}; options.struct_size = sizeof options;`.
 */
typedef struct inctrl_scorer_options {
    /**
     * sizeof(inctrl_scorer_options).
     */
    size_t struct_size;
    /**
     * Most frames encoded at once: 1 for the shortest latency, more for throughput; 0 is 1. Scores do not depend on it.
     */
    size_t capacity;
    /**
     * What a result that comes after its deadline says: INCTRL_LATE_MARK, which is 0, or INCTRL_LATE_REVIEW.
     */
    int32_t late;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} inctrl_scorer_options;

/**
 * A place that the bank's threshold `cell` calls defective, in pixels of the frame. This structure does not grow.
 */
typedef struct inctrl_region {
    /**
     * First column of the box around it.
     */
    uint32_t x;
    /**
     * First row.
     */
    uint32_t y;
    /**
     * Columns of the box.
     */
    uint32_t width;
    /**
     * Rows of the box.
     */
    uint32_t height;
    /**
     * Area of its cells inside the frame, in square pixels.
     */
    double area;
    /**
     * Its largest residual.
     */
    float peak;
    /**
     * Number of its cells.
     */
    uint32_t cells;
} inctrl_region;

/**
 * The result for one frame. Begin with `inctrl_result result = {0}; result.struct_size = sizeof result;`.
 *
 * Whatever goes wrong, a result that the library could write to says INCTRL_VERDICT_REVIEW, INCTRL_REASON_ERROR and the status.
 * The fields from `region_count` on are the library's to write; a structure can be used for frame after frame as it is.
 */
typedef struct inctrl_result {
    /**
     * sizeof(inctrl_result); set by the caller.
     */
    size_t struct_size;
    /**
     * Memory of the caller for `map_capacity` residuals, or NULL: grid_rows * grid_cols of them, row by row.
     * inctrl_scorer_grid() says how many that are.
     */
    float *map;
    /**
     * Elements at `map`. A map that does not fit is an error.
     */
    size_t map_capacity;
    /**
     * Memory of the caller for `region_capacity` regions, or NULL; the largest residual comes first.
     */
    struct inctrl_region *regions;
    /**
     * Elements at `regions`.
     */
    size_t region_capacity;
    /**
     * Regions found; more than `region_capacity` where not all could be written.
     */
    size_t region_count;
    /**
     * Status of this frame: INCTRL_OK or an error.
     */
    int32_t status;
    /**
     * One of the verdicts.
     */
    int32_t verdict;
    /**
     * One of the reasons.
     */
    int32_t reason;
    /**
     * 1 where the result came after the deadline, else 0. Its numbers are as good as any other's; what its verdict is, the
     * options of the scorer say.
     */
    int32_t late;
    /**
     * The score to rank and threshold by: larger is more anomalous. NaN after an error.
     */
    float score;
    /**
     * The trained head on map, image_residual and text_prior, in [0, 1].
     */
    float holistic;
    /**
     * The largest residual of the map, in [0, 1].
     */
    float patch_max;
    /**
     * How far the image as a whole is from the normal ones, in [0, 1].
     */
    float image_residual;
    /**
     * How much better texts of a damaged object fit, in [0, 1].
     */
    float text_prior;
    /**
     * Cells of a side of the map; 0 where it has not as many rows as columns, see `grid_rows`.
     */
    uint32_t grid;
    /**
     * Left edge of the map in pixels of the frame; it may lie outside it. A cell is map_width / grid_cols wide.
     */
    double map_x;
    /**
     * Top edge.
     */
    double map_y;
    /**
     * Width of the map in pixels of the frame.
     */
    double map_width;
    /**
     * Height.
     */
    double map_height;
    /**
     * Which of its slot's banks the frame was scored against, counted from 1.
     */
    uint64_t generation;
    /**
     * Time from the beginning of the call until this result was written, in microseconds; later ones of a batch have more.
     */
    uint64_t latency_us;
    /**
     * Identity of the bank: 16 hexadecimal digits and a zero.
     */
    char bank_id[24];
    /**
     * Rows of the map.
     */
    uint32_t grid_rows;
    /**
     * Columns of the map.
     */
    uint32_t grid_cols;
} inctrl_result;

/**
 * A rectangle of whole pixels inside a frame. This structure does not grow.
 */
typedef struct inctrl_roi {
    /**
     * First column.
     */
    uint32_t x;
    /**
     * First row.
     */
    uint32_t y;
    /**
     * Columns, at least 1.
     */
    uint32_t width;
    /**
     * Rows, at least 1.
     */
    uint32_t height;
} inctrl_roi;

/**
 * How a scorer is doing. Begin with `inctrl_health health = {0}; health.struct_size = sizeof health;`.
 */
typedef struct inctrl_health {
    /**
     * sizeof(inctrl_health); set by the caller.
     */
    size_t struct_size;
    /**
     * Identity of the model; valid until the scorer is closed.
     */
    const char *model_hash;
    /**
     * The device and how it is used; valid until the scorer is closed.
     */
    const char *device;
    /**
     * Identity of the bank in the slot: 16 hexadecimal digits and a zero.
     */
    char bank_id[24];
    /**
     * Which of the slot's banks that is, counted from 1.
     */
    uint64_t generation;
    /**
     * Microseconds since the scorer was made.
     */
    uint64_t uptime_us;
    /**
     * Results with a score, without those of warm-up.
     */
    uint64_t frames;
    /**
     * Results without one, whatever the reason: a bad frame, rectangle or result structure, a bad call (each of its results
     * counts), a scorer in use by another thread. Every result that was asked of the scorer is in `frames` or in `errors`; a
     * call whose results have no memory counts once. Warm-up, and calls whose scorer is none, count nowhere.
     */
    uint64_t errors;
    /**
     * Results with a score that came after the deadline.
     */
    uint64_t late;
    /**
     * Median latency in microseconds; quantiles are at most 1/32 too long.
     */
    uint64_t p50_us;
    /**
     * Latency that 90 % of frames stay within.
     */
    uint64_t p90_us;
    /**
     * Latency that 99 % of frames stay within.
     */
    uint64_t p99_us;
    /**
     * Latency that 99.9 % of frames stay within.
     */
    uint64_t p999_us;
    /**
     * The longest latency, to the microsecond.
     */
    uint64_t max_us;
    /**
     * The error of the last result that has no score, in UTF-8, cut off if need be; "" if none did.
     */
    char last_error[512];
} inctrl_health;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the interface of the loaded library, to be compared with INCTRL_ABI_VERSION.
 */
uint32_t inctrl_abi_version(void);

/**
 * The version of the library in words, such as "0.1.0". Never NULL; valid for ever.
 */
const char *inctrl_version(void);

/**
 * Why the last call of this thread failed, with all causes, in UTF-8; "" after a call that succeeded.
 *
 * Never NULL. Valid until the next call of this thread.
 */
const char *inctrl_last_error(void);

/**
 * Sends the log to a function; NULL ends that. The library writes nothing to standard output or standard error.
 *
 * When it returns, the previous callback runs nowhere and is not called any more: it waits for calls that other threads are in,
 * so hold no lock that the callback takes. Called from within a callback it does not wait. A frame that is scored without an
 * error logs nothing, but for the first one of a scorer whose brightness is in doubt (see `white_level` of inctrl_frame), and the
 * first one whose map has other rows and columns, as it takes memory.
 */
void inctrl_set_log_callback(inctrl_log_callback callback,
                             void *user);

/**
 * Opens a model. Slow: seconds. Several scorers share its one copy of the weights.
 *
 * @param options what to open; everything in it can be freed afterwards
 * @param engine receives the engine, NULL after an error
 */
int32_t inctrl_engine_open(const struct inctrl_engine_options *options, struct inctrl_engine **engine);

/**
 * Computes what is known beforehand and checks it on this device: seconds, for the start of a shift.
 *
 * INCTRL_ERROR_DEVICE where something does not hold; do not inspect with this device then.
 */
int32_t inctrl_engine_self_test(const struct inctrl_engine *engine);

/**
 * Identity of the model, in hexadecimal. Valid until the engine is closed; NULL where `engine` is no engine.
 */
const char *inctrl_engine_model_hash(const struct inctrl_engine *engine);

/**
 * The device and how it is used, one line. Valid until the engine is closed; NULL where `engine` is no engine.
 */
const char *inctrl_engine_device(const struct inctrl_engine *engine);

/**
 * Cells of a side of the map at the model's own size. Where a bank has another size or the fit INCTRL_FIT_TRIM, ask
 * inctrl_scorer_grid(). 0 where `engine` is no engine.
 */
uint32_t inctrl_engine_grid(const struct inctrl_engine *engine);

/**
 * Closes an engine and sets the variable to NULL, which is fine to close again. Its banks, slots and scorers stay usable.
 */
int32_t inctrl_engine_close(struct inctrl_engine **engine);

/**
 * Builds a bank of the method "inctrl" from normal images; inctrl_bank_build_with builds those of others. Slow: seconds.
 *
 * @param class_name the class in words, such as "metal nut", in UTF-8
 * @param fit one of the fits; queries are fitted likewise
 * @param frames normal images, `count` structures one after the other, all of the size that the first one says; at least one
 * @param mask pixels that are not judged, INCTRL_MONO8 in host memory and not 0 there, or NULL; all frames and queries have
 * its size
 * @param bank receives the bank, NULL after an error
 */
int32_t inctrl_bank_build(const struct inctrl_engine *engine,
                          const char *class_name,
                          int32_t fit,
                          const struct inctrl_frame *frames,
                          size_t count,
                          const struct inctrl_frame *mask,
                          struct inctrl_bank **bank);

/**
 * Builds a bank as its options say. Slow: seconds.
 *
 * @param options may be freed afterwards
 * @param frames as for inctrl_bank_build
 * @param bank receives the bank, NULL after an error
 */
int32_t inctrl_bank_build_with(const struct inctrl_engine *engine,
                               const struct inctrl_bank_options *options,
                               const struct inctrl_frame *frames,
                               size_t count,
                               struct inctrl_bank **bank);

/**
 * A longer bank: that of `bank` and further normal images. Its thresholds are not kept, as scores change.
 *
 * @param frames as for inctrl_bank_build; fit, class and mask are those of `bank`, which stays as it is
 * @param longer receives the longer bank, NULL after an error
 */
int32_t inctrl_bank_append(const struct inctrl_engine *engine,
                           const struct inctrl_bank *bank,
                           const struct inctrl_frame *frames,
                           size_t count,
                           struct inctrl_bank **longer);

/**
 * Reads a bank from a file. Whether it fits a model is found out when a slot is to hold it.
 */
int32_t inctrl_bank_open(const char *file, struct inctrl_bank **bank);

/**
 * Reads a bank from the bytes of its file.
 */
int32_t inctrl_bank_from_bytes(const void *data, size_t size, struct inctrl_bank **bank);

/**
 * Writes a bank to a file, which appears whole or not at all.
 */
int32_t inctrl_bank_save(const struct inctrl_bank *bank, const char *file);

/**
 * The same bank with other thresholds, or without where `thresholds` is NULL. Its identity changes with them.
 *
 * @param changed receives the new bank, NULL after an error; `bank` stays as it is
 */
int32_t inctrl_bank_with_thresholds(const struct inctrl_bank *bank,
                                    const struct inctrl_thresholds *thresholds,
                                    struct inctrl_bank **changed);

/**
 * Reads a bank's thresholds.
 *
 * @param present receives 1, or 0 where the bank has none and `thresholds` is left as it is
 */
int32_t inctrl_bank_thresholds(const struct inctrl_bank *bank, struct inctrl_thresholds *thresholds, int32_t *present);

/**
 * Identity of the bank: 16 hexadecimal digits. Valid until the bank is closed; NULL where `bank` is no bank.
 */
const char *inctrl_bank_id(const struct inctrl_bank *bank);

/**
 * The bank's class in words, in UTF-8. Valid until the bank is closed; NULL where `bank` is no bank.
 */
const char *inctrl_bank_class_name(const struct inctrl_bank *bank);

/**
 * Number of the bank's normal images; 0 where `bank` is no bank.
 */
size_t inctrl_bank_prompts(const struct inctrl_bank *bank);

/**
 * Closes a bank and sets the variable to NULL, which is fine to close again. Slots that hold the bank keep it.
 */
int32_t inctrl_bank_close(struct inctrl_bank **bank);

/**
 * A slot with a bank of the engine's model in it, of generation 1. INCTRL_ERROR_BANK for a bank of another model.
 */
int32_t inctrl_slot_create(const struct inctrl_engine *engine,
                           const struct inctrl_bank *bank,
                           struct inctrl_slot **slot);

/**
 * Puts another bank in place, for all scorers of the slot from their next frame on. Scoring goes on meanwhile.
 *
 * After an error the slot keeps the bank that it had.
 *
 * @param generation receives the new bank's number, or NULL
 */
int32_t inctrl_slot_swap(const struct inctrl_slot *slot, const struct inctrl_bank *bank, uint64_t *generation);

/**
 * Closes a slot and sets the variable to NULL, which is fine to close again. Its scorers stay usable.
 */
int32_t inctrl_slot_close(struct inctrl_slot **slot);

/**
 * A scorer of the bank in `slot`; late results are marked and no more, INCTRL_LATE_MARK.
 *
 * @param capacity most frames encoded at once: 1 for the shortest latency, more for throughput. Scores do not depend on it.
 * @param scorer receives the scorer, NULL after an error
 */
int32_t inctrl_scorer_create(const struct inctrl_engine *engine,
                             const struct inctrl_slot *slot,
                             size_t capacity,
                             struct inctrl_scorer **scorer);

/**
 * A scorer of the bank in `slot`, as its options say.
 *
 * INCTRL_ERROR_DEVICE where the memory for the capacity is not there: nothing of it was taken then.
 *
 * @param options may be freed afterwards
 * @param scorer receives the scorer, NULL after an error
 */
int32_t inctrl_scorer_create_with(const struct inctrl_engine *engine,
                                  const struct inctrl_slot *slot,
                                  const struct inctrl_scorer_options *options,
                                  struct inctrl_scorer **scorer);

/**
 * Scores one frame. After a frame of the same size and format this allocates nothing, takes no lock and does no input or output.
 *
 * @param deadline_us microseconds from the beginning of the call after which the result is marked late, or 0. The call is not cut
 * short, and a late pass is still a pass: test `late`, or make the scorer with INCTRL_LATE_REVIEW.
 * @param result receives the result; after any error it says INCTRL_VERDICT_REVIEW
 */
int32_t inctrl_scorer_score(const struct inctrl_scorer *scorer,
                            const struct inctrl_frame *frame,
                            uint64_t deadline_us,
                            struct inctrl_result *result);

/**
 * Scores frames, as many at a time as the scorer has capacity for. A frame that fails costs no other its score.
 *
 * @param frames `count` structures one after the other, all of the size that the first one says; none is fine
 * @param results `count` structures one after the other, all of the size that the first one says
 * @return INCTRL_OK, or the status of the first frame that failed
 */
int32_t inctrl_scorer_score_batch(const struct inctrl_scorer *scorer,
                                  const struct inctrl_frame *frames,
                                  size_t count,
                                  uint64_t deadline_us,
                                  struct inctrl_result *results);

/**
 * Scores several regions of one frame, each as if it were a frame; maps and regions of results are in pixels of the whole frame.
 * Where the bank has an ignore mask, each has the size of the mask.
 *
 * @param rois `count` rectangles inside the frame
 * @param results `count` structures one after the other, all of the size that the first one says
 * @return INCTRL_OK, or the status of the first region that failed
 */
int32_t inctrl_scorer_score_regions(const struct inctrl_scorer *scorer,
                                    const struct inctrl_frame *frame,
                                    const struct inctrl_roi *rois,
                                    size_t count,
                                    uint64_t deadline_us,
                                    struct inctrl_result *results);

/**
 * Reads one number of a result of the scorer's last call, by the name that its method has for it: "score" and "patch_max" of every
 * method so far, others of some. What a method does not have is an error here, and NaN in the fields of inctrl_result.
 *
 * @param result which result of the last call, counted from 0
 * @param value receives the number; NaN after an error, and where that result has no score
 */
int32_t inctrl_scorer_output(const struct inctrl_scorer *scorer,
                             size_t result,
                             const char *name,
                             float *value);

/**
 * Rows and columns of the map of a frame of `width` x `height` pixels, with the bank that is in the scorer's slot now. Any thread
 * may ask, also while another one scores.
 *
 * @param rows receives the rows
 * @param cols receives the columns
 */
int32_t inctrl_scorer_grid(const struct inctrl_scorer *scorer,
                           uint32_t width,
                           uint32_t height,
                           uint32_t *rows,
                           uint32_t *cols);

/**
 * Scores a grey frame of a size and format `count` times and forgets the results: memory, caches and clocks are then as in
 * steady running. Call it before the first frame, and in gaps between frames to keep the device warm.
 */
int32_t inctrl_scorer_warm_up(const struct inctrl_scorer *scorer,
                              uint32_t width,
                              uint32_t height,
                              int32_t format,
                              uint32_t count);

/**
 * Closes a scorer and sets the variable to NULL, which is fine to close again. A scorer that is found in use by another thread
 * stays open: INCTRL_ERROR_BUSY (after a fork, in the child, it is closed all the same). Its slot, engine and bank stay as they are.
 */
int32_t inctrl_scorer_close(struct inctrl_scorer **scorer);

/**
 * How a scorer is doing. Any thread may ask, also while another one scores.
 */
int32_t inctrl_scorer_health(const struct inctrl_scorer *scorer, struct inctrl_health *health);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* INCTRL_H */
