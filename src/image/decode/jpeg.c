/* One JPEG file to packed 8-bit pixels through libjpeg's interface, for jpeg.rs.
 *
 *   bytes    [length], in: the whole file
 *   pixels   [height, width, channels] u8, out; channels 1: grey, 3: RGB, 4: CMYK as the file stores it
 *   memory   in: most bytes that the library may take
 *   message  [MESSAGE], out: what the library says, ended by zero; empty where all is well
 *
 * In C, as libjpeg reports an error by a function that must not return: setjmp and longjmp stay between this file and the
 * library, and no frame of Rust is ever jumped over. Nothing is printed, and everything is freed on every way out.
 *
 * Warnings of damage are errors here: libjpeg would fill in grey and go on. */
#include <limits.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "jpeglib.h"
#include "jerror.h"

/* As in jpeg.rs. */
enum outcome { DECODED = 0, TRUNCATED = 1, DAMAGED = 2, UNSUPPORTED = 3, MEMORY = 4, SCANS = 5, HEADER = 6 };
enum { MESSAGE = JMSG_LENGTH_MAX };

/* A scan may be a few bytes that cost a pass over the whole picture; files have about ten. */
static const int MOST_SCANS = 500;
/* Encoders in hardware align their data. So many bytes may stand before a marker unexplained, or any number of zeros: up to
 * eight the library itself does not see, as they have passed into its bit buffer. */
static const int MOST_PADDING = 8;

struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    enum outcome outcome;
    const unsigned char *bytes;
    char *message;
};

static void leave(struct reader *reader, enum outcome outcome) {
    reader->outcome = outcome;
    reader->errors.format_message((j_common_ptr)&reader->jpeg, reader->message);
    longjmp(reader->leave, 1);
}

static void on_error(j_common_ptr jpeg) {
    enum outcome outcome = DAMAGED;
    switch (jpeg->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
    case JERR_NO_BACKING_STORE:
        outcome = MEMORY;
        break;
    case JERR_INPUT_EMPTY:
    case JERR_INPUT_EOF:
        outcome = TRUNCATED;
        break;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_SOF_UNSUPPORTED:
        outcome = UNSUPPORTED;
        break;
    }
    leave((struct reader *)jpeg, outcome);
}

/* Whether the `count` bytes before the place of reading are nothing but padding. */
static int is_padding(const struct reader *reader, int count) {
    const JOCTET *next = reader->jpeg.src->next_input_byte;
    if (count <= MOST_PADDING) return 1;
    for (; count > 0; count--)
        if (next == reader->bytes || *--next != 0) return 0;
    return 1;
}

static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return; /* trace */
    switch (jpeg->err->msg_code) {
    /* What an application segment says of itself is no damage. */
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
        return;
    case JWRN_JPEG_EOF:
        leave((struct reader *)jpeg, TRUNCATED);
        return;
    case JWRN_EXTRANEOUS_DATA:
        if (is_padding((const struct reader *)jpeg, jpeg->err->msg_parm.i[0])) return;
        break;
    }
    leave((struct reader *)jpeg, DAMAGED);
}

static void on_output(j_common_ptr jpeg) { (void)jpeg; }

static void on_progress(j_common_ptr common) {
    struct reader *reader = (struct reader *)common;
    if (reader->jpeg.input_scan_number > MOST_SCANS) leave(reader, SCANS);
}

static void decode(struct reader *reader, const unsigned char *bytes, unsigned long length, unsigned char *pixels,
                   unsigned int width, unsigned int height, int channels, long memory) {
    j_decompress_ptr jpeg = &reader->jpeg;
    JSAMPROW row;
    if (setjmp(reader->leave)) return;
    jpeg_create_decompress(jpeg);
    jpeg->mem->max_memory_to_use = memory;
    reader->progress.progress_monitor = on_progress;
    jpeg->progress = &reader->progress;
    jpeg_mem_src(jpeg, bytes, length);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->image_width != width || jpeg->image_height != height) {
        reader->outcome = HEADER;
        return;
    }
    jpeg->out_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(jpeg);
    if (jpeg->output_width != width || jpeg->output_height != height || jpeg->output_components != channels) {
        reader->outcome = HEADER;
        return;
    }
    while (jpeg->output_scanline < height) {
        row = pixels + (size_t)jpeg->output_scanline * width * (size_t)channels;
        if (jpeg_read_scanlines(jpeg, &row, 1) != 1) {
            reader->outcome = TRUNCATED;
            return;
        }
    }
    /* Reads on to the end of the image, so that its absence is seen. */
    reader->outcome = jpeg_finish_decompress(jpeg) ? DECODED : DAMAGED;
}

int inctrl_jpeg_decode(const unsigned char *bytes, size_t length, unsigned char *pixels, unsigned int width,
                       unsigned int height, int channels, size_t memory, char *message) {
    struct reader reader;
    memset(&reader, 0, sizeof reader);
    memset(message, 0, MESSAGE);
    if (length > ULONG_MAX) return MEMORY;
    reader.bytes = bytes;
    reader.message = message;
    reader.outcome = DAMAGED;
    reader.jpeg.err = jpeg_std_error(&reader.errors);
    reader.errors.error_exit = on_error;
    reader.errors.emit_message = on_message;
    reader.errors.output_message = on_output;
    decode(&reader, bytes, (unsigned long)length, pixels, width, height, channels,
           memory > LONG_MAX ? LONG_MAX : (long)memory);
    jpeg_destroy_decompress(&reader.jpeg);
    return reader.outcome;
}
