/*
 * qemu-img zone: zones of an image that nobody uses
 *
 * Works on every host-managed node, through the zone operations of the block
 * layer only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <getopt.h>
#ifndef _WIN32
#include <sys/ioctl.h>
#endif

#include "block/aio.h"
#include "block/zoned-change.h"
#include "block/zoned-graph.h"
#include "block/zoned-picture.h"
#include "block/zoned-range.h"
#include "block/zoned-report.h"
#include "block/zoned-tool.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-zoned.h"
#include "qapi/qobject-output-visitor.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qobject/json-writer.h"
#include "qobject/qjson.h"
#include "qobject/qobject.h"
#include "qom/object_interfaces.h"

typedef struct ZoneTool ZoneTool;

/* --- Commands and their options --- */

typedef enum ZoneCommandId {
    ZC_REPORT, ZC_MAP, ZC_RESET, ZC_FINISH, ZC_SET_CONDITION,
    ZC_SET_ATTRIBUTES, ZC_MAX
} ZoneCommandId;

#define FOR(id) (1u << ZC_##id)
#define FOR_ALL ((1u << ZC_MAX) - 1)
#define FOR_LOOKS (FOR(REPORT) | FOR(MAP))
#define FOR_CHANGES (FOR(RESET) | FOR(FINISH) | FOR(SET_CONDITION) | \
                     FOR(SET_ATTRIBUTES))

typedef struct ZoneCommand {
    ZoneCommandId id;
    const char *name;
    int (*run)(ZoneTool *tool);
    const char *operands;        /* in the usage */
    int nr_operands;             /* FILENAME is the first */
    const char *summary;
    const char *operand_help;
} ZoneCommand;

enum {
    OPTION_IMAGE_OPTS = 256,
    OPTION_OBJECT,
    OPTION_OUTPUT,
    OPTION_MAP,
};

typedef struct ZoneOption {
    int key;
    const char *name;
    const char *value;           /* in the usage, NULL: takes none */
    uint32_t commands;
    const char *help;
} ZoneOption;

static const ZoneOption zone_options[] = {
    { 'h', "help", NULL, FOR_ALL,
      "print this help and exit" },
    { 'f', "format", "FMT", FOR_ALL,
      "specify the format of FILENAME explicitly" },
    { OPTION_IMAGE_OPTS, "image-opts", NULL, FOR_ALL,
      "FILENAME is a complete image specification instead of a file name\n"
      "     (incompatible with --format)" },
    { OPTION_OBJECT, "object", "OBJDEF", FOR_ALL,
      "QEMU user-creatable object (eg encryption key)" },
    { 'U', "force-share", NULL, FOR_LOOKS,
      "open the image in shared mode, although it may be in use; zones are\n"
      "     shown as they were stored last" },
    { OPTION_OUTPUT, "output", "human|json", FOR(REPORT) | FOR_CHANGES,
      "output format (default: human)" },
    { 'q', "quiet", NULL, FOR_CHANGES,
      "do not say what was done" },
    { 'z', "zone", "NUMBER", FOR_ALL,
      "first zone, by its number; zone 0 is the first of the disk" },
    { 'o', "offset", "OFFSET", FOR_ALL,
      "first zone, by its start in bytes (suffixes k, M, G, T)" },
    { 'c', "count", "COUNT", FOR_LOOKS,
      "how many zones (default: all from the first one on)" },
    { 'c', "count", "COUNT", FOR_CHANGES,
      "how many zones (default: 1)" },
    { 'a', "all", NULL, FOR_CHANGES,
      "all zones of the disk that the operation applies to" },
    { 's', "state", "STATE", FOR(REPORT),
      "only zones in this state; can be given several times" },
    { OPTION_MAP, "map", NULL, FOR(REPORT),
      "print a character for each zone, or for a group of them, instead of\n"
      "     a line" },
};

struct ZoneTool {
    const char *program;         /* for hints: qemu-img zone COMMAND */
    const ZoneCommand *command;
    ZonedToolOpen *open_image;

    /* What was asked for */
    const char *format, *first_text, *count_text;
    bool image_opts, force_share, quiet, json, all, map;
    bool by_number;              /* first_text is the number of a zone */
    uint32_t states;             /* 0: any; bits are 1 << BlockdevZoneState */
    BlockZoneCondition condition;
    uint8_t attributes;          /* BDRV_ZA_SETTABLE */
    char **operands;

    /* The disk, and the range of zones */
    BlockBackend *blk;
    uint64_t size, zone_size;
    uint32_t nr_zones, first, count;
};

/* --- Usage --- */

static G_NORETURN G_GNUC_PRINTF(2, 3)
void usage_error(const ZoneTool *tool, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_vreport(fmt, ap);
    va_end(ap);
    error_printf("Try '%s --help' for more info\n", tool->program);
    exit(EXIT_FAILURE);
}

static bool has_change(const ZoneTool *tool)
{
    return FOR_CHANGES >> tool->command->id & 1;
}

/* Is @option one of the command that was given? */
static bool has_option(const ZoneTool *tool, const ZoneOption *option)
{
    return option->commands >> tool->command->id & 1;
}

static G_NORETURN void print_command_help(const ZoneTool *tool)
{
    const ZoneCommand *command = tool->command;

    printf("Usage:\n"
           "%s.  Usage:\n\n"
           "  %s [OPTION...] %s\n\n"
           "Arguments:\n", command->summary, tool->program,
           command->operands);
    for (int i = 0; i < ARRAY_SIZE(zone_options); i++) {
        const ZoneOption *o = &zone_options[i];

        if (!has_option(tool, o)) {
            continue;
        }
        printf("  ");
        if (o->key < OPTION_IMAGE_OPTS) {
            printf("-%c, ", o->key);
        }
        printf("--%s%s%s\n     %s\n", o->name, o->value ? " " : "",
               o->value ?: "", o->help);
    }
    printf("%s", command->operand_help);
    exit(EXIT_SUCCESS);
}

/* --- Zones --- */

typedef struct ZoneWalk {
    ZoneTool *tool;
    BlkZoneFunc *fn;
    void *opaque;
    int ret;
    bool done;
} ZoneWalk;

static void coroutine_fn walk_entry(void *opaque)
{
    ZoneWalk *walk = opaque;
    ZoneTool *tool = walk->tool;
    uint64_t start = tool->first * tool->zone_size;
    uint64_t end = MIN(start + tool->count * tool->zone_size, tool->size);

    walk->ret = blk_co_for_each_zone(tool->blk, start, end - start, 0,
                                     walk->fn, walk->opaque);
    walk->done = true;
}

/* Call @fn for each zone of the range; reports why a zone cannot be had. */
static int for_each_zone(ZoneTool *tool, BlkZoneFunc *fn, void *opaque)
{
    ZoneWalk walk = { .tool = tool, .fn = fn, .opaque = opaque };

    qemu_coroutine_enter(qemu_coroutine_create(walk_entry, &walk));
    while (!walk.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    if (walk.ret < 0 && walk.ret != -ECANCELED) {
        error_report("Could not report the zones of '%s': %s",
                     tool->operands[0], strerror(-walk.ret));
    }
    return walk.ret;
}

static uint32_t zone_index(const ZoneTool *tool,
                           const BlockZoneDescriptor *zone)
{
    return zone->start / tool->zone_size;
}

/* --- Numbers, and the range of zones --- */

static bool find_first_by_number(ZoneTool *tool)
{
    uint64_t value;

    if (parse_uint_full(tool->first_text, 0, &value) < 0) {
        error_report("--zone (%s) must be the number of a zone",
                     tool->first_text);
        return false;
    }
    if (value >= tool->nr_zones) {
        error_report("--zone (%" PRIu64 ") must be less than the number of "
                     "zones (%" PRIu32 ")", value, tool->nr_zones);
        return false;
    }
    tool->first = value;
    return true;
}

/* A report begins with the zone that the offset is in; a change is exact. */
static bool find_first_by_offset(ZoneTool *tool)
{
    uint64_t value;

    if (qemu_strtosz(tool->first_text, NULL, &value) < 0) {
        error_report("--offset (%s) must be a number of bytes, which may have "
                     "a suffix", tool->first_text);
        return false;
    }
    if (value >= tool->size) {
        error_report("--offset (%" PRIu64 ") must be less than the size of the "
                     "disk (%" PRIu64 ")", value, tool->size);
        return false;
    }
    if (value % tool->zone_size && has_change(tool)) {
        error_report("--offset (%" PRIu64 ") must be the start of a zone, a "
                     "multiple of the zone size (%" PRIu64 ")", value,
                     tool->zone_size);
        return false;
    }
    tool->first = value / tool->zone_size;
    return true;
}

static bool find_count(ZoneTool *tool)
{
    uint32_t max = tool->nr_zones - tool->first;
    uint64_t value;

    if (!tool->count_text) {
        tool->count = has_change(tool) && !tool->all ? 1 : max;
        return true;
    }
    if (parse_uint_full(tool->count_text, 0, &value) < 0) {
        error_report("--count (%s) must be a number of zones",
                     tool->count_text);
        return false;
    }
    if (value < 1 || value > max) {
        error_report("--count (%" PRIu64 ") must be between 1 and the number "
                     "of zones from zone %" PRIu32 " on (%" PRIu32 ")", value,
                     tool->first, max);
        return false;
    }
    tool->count = value;
    return true;
}

static bool find_range(ZoneTool *tool)
{
    if (tool->first_text && !(tool->by_number ? find_first_by_number(tool)
                                              : find_first_by_offset(tool))) {
        return false;
    }
    return find_count(tool);
}

static void print_range(const ZoneTool *tool)
{
    if (tool->count == tool->nr_zones) {
        printf("all %" PRIu32 " zones", tool->count);
    } else if (tool->count == 1) {
        printf("zone %" PRIu32, tool->first);
    } else {
        printf("zones %" PRIu32 " to %" PRIu32, tool->first,
               tool->first + tool->count - 1);
    }
}

/* --- Report --- */

typedef struct ZoneReport {
    ZoneTool *tool;
    ZoneTotals totals;
    ZoneLines lines;
    GString *line;
} ZoneReport;

/*
 * As the output visitor of BlockdevZone would have it, which is too slow for a
 * million zones
 */
static void print_zone_json(const BlockdevZone *zone, bool is_first)
{
    g_autoptr(JSONWriter) writer = json_writer_new(false);

    json_writer_start_object(writer, NULL);
    json_writer_uint64(writer, "index", zone->index);
    json_writer_uint64(writer, "start", zone->start);
    json_writer_uint64(writer, "length", zone->length);
    json_writer_uint64(writer, "capacity", zone->capacity);
    if (zone->has_write_pointer) {
        json_writer_uint64(writer, "write-pointer", zone->write_pointer);
    }
    if (zone->has_remaining) {
        json_writer_uint64(writer, "remaining", zone->remaining);
    }
    json_writer_str(writer, "type", BlockdevZoneType_str(zone->type));
    json_writer_str(writer, "state", BlockdevZoneState_str(zone->state));
    json_writer_start_array(writer, "attributes");
    for (const BlockdevZoneAttributeList *a = zone->attributes; a;
         a = a->next) {
        json_writer_str(writer, NULL, BlockdevZoneAttribute_str(a->value));
    }
    json_writer_end_array(writer);
    json_writer_end_object(writer);
    printf("%s    %s", is_first ? "" : ",\n", json_writer_get(writer));
}

static int coroutine_fn report_zone(const BlockZoneDescriptor *descriptor,
                                    void *opaque)
{
    ZoneReport *report = opaque;
    ZoneTool *tool = report->tool;
    BlockdevZone zone;

    if (tool->states &&
        !(tool->states >> zoned_report_state(descriptor->state) & 1)) {
        return 0;
    }
    zoned_report_info(descriptor, zone_index(tool, descriptor), &zone);
    if (tool->json) {
        print_zone_json(&zone, report->totals.zones == 0);
    } else {
        zoned_report_line(&report->lines, &zone, report->line);
        puts(report->line->str);
    }
    zoned_report_add(&report->totals, descriptor);
    qapi_free_BlockdevZoneAttributeList(zone.attributes);
    /* Nobody reads any more: qemu-img report | head */
    return ferror(stdout) ? -ECANCELED : 0;
}

static void print_totals(const ZoneTotals *totals)
{
    g_autofree char *written = size_to_str(totals->written);
    g_autofree char *left = size_to_str(totals->left);
    const char *separator = ": ";

    printf("%" PRIu32 " zone%s", totals->zones, totals->zones == 1 ? "" : "s");
    for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
        if (totals->in_state[i]) {
            printf("%s%" PRIu32 " %s", separator, totals->in_state[i],
                   BlockdevZoneState_str(i));
            separator = ", ";
        }
    }
    printf("; %s written, %s left\n", written, left);
}

/* --- Pictures --- */

/* So many cells are still far enough from each other. */
#define MAX_CELLS 4096
#define MAX_LINES 40

typedef struct ZoneDrawing {
    ZoneTool *tool;
    ZonePicture picture;
} ZoneDrawing;

static int coroutine_fn draw_zone(const BlockZoneDescriptor *zone,
                                  void *opaque)
{
    ZoneDrawing *drawing = opaque;
    uint32_t index = zone_index(drawing->tool, zone);

    if (zone->type != BLK_ZT_CONV && !drawing->picture.capacity) {
        drawing->picture.capacity = zone->cap;
    }
    zoned_picture_add(&drawing->picture, index, zone);
    return 0;
}

/* The caller destroys the picture. */
static int draw(ZoneTool *tool, uint32_t max_cells, ZonePicture *picture)
{
    const BlockZoneLimits *limits = blk_zone_limits(tool->blk);
    ZoneDrawing drawing = {
        .tool = tool,
        .picture = {
            .name = tool->operands[0],
            .size = tool->size,
            .zone_size = tool->zone_size,
            .nr_zones = tool->nr_zones,
            .max_open = limits->max_open,
            .max_active = limits->max_active,
            .capacity = limits->capacity,
        },
    };
    int ret;

    zoned_picture_init(&drawing.picture, tool->first, tool->count, max_cells);
    ret = for_each_zone(tool, draw_zone, &drawing);
    *picture = drawing.picture;
    return ret;
}

/* Can the terminal show block elements?  qemu-img sets no locale. */
static bool is_utf8(void)
{
    const char *locale = getenv("LC_ALL");
    g_autofree char *lower = NULL;

    if (!locale || !*locale) {
        locale = getenv("LC_CTYPE");
    }
    if (!locale || !*locale) {
        locale = getenv("LANG");
    }
    lower = g_ascii_strdown(locale ?: "", -1);
    return strstr(lower, "utf-8") || strstr(lower, "utf8");
}

static ZonePictureStyle terminal_style(void)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");

    if (!isatty(STDOUT_FILENO) || !term || !strcmp(term, "dumb") ||
        (no_colour && *no_colour)) {
        return ZONE_PICTURE_PLAIN;
    }
    return is_utf8() ? ZONE_PICTURE_BLOCKS : ZONE_PICTURE_COLOUR;
}

static unsigned int terminal_columns(void)
{
#ifdef TIOCGWINSZ
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) {
        return size.ws_col;
    }
#endif
    return 80;
}

static int run_report_map(ZoneTool *tool)
{
    unsigned int columns = terminal_columns();
    g_autoptr(GString) text = NULL;
    ZonePicture picture;
    int ret = draw(tool, columns / 2 * MAX_LINES, &picture);

    if (ret == 0) {
        text = zoned_picture_text(&picture, terminal_style(), columns);
        fputs(text->str, stdout);
        print_totals(&picture.totals);
    }
    zoned_picture_destroy(&picture);
    return ret;
}

static int run_map(ZoneTool *tool)
{
    const char *path = tool->operands[1];
    g_autoptr(GString) svg = NULL;
    g_autoptr(GError) err = NULL;
    ZonePicture picture;
    int ret = draw(tool, MAX_CELLS, &picture);

    if (ret == 0) {
        svg = zoned_picture_svg(&picture);
        if (!strcmp(path, "-")) {
            fputs(svg->str, stdout);
        } else if (!g_file_set_contents(path, svg->str, svg->len, &err)) {
            error_report("Could not write '%s': %s", path, err->message);
            ret = -EIO;
        }
    }
    zoned_picture_destroy(&picture);
    return ret;
}

/* --- Report as a table or for programs --- */

static int run_report(ZoneTool *tool)
{
    g_autoptr(GString) line = g_string_new(NULL);
    ZoneReport report = { .tool = tool, .line = line };
    int ret;

    if (tool->map) {
        return run_report_map(tool);
    }
    if (tool->json) {
        printf("{ \"size\": %" PRIu64 ", \"zone-size\": %" PRIu64
               ", \"nr-zones\": %" PRIu32 ",\n  \"zones\": [\n", tool->size,
               tool->zone_size, tool->nr_zones);
    } else {
        zoned_report_heading(&report.lines, line);
        puts(line->str);
    }
    ret = for_each_zone(tool, report_zone, &report);
    if (ret < 0) {
        return ret;
    }
    if (tool->json) {
        printf("%s  ] }\n", report.totals.zones ? "\n" : "");
    } else {
        print_totals(&report.totals);
    }
    return 0;
}

/* --- Changes --- */

static void print_change_json(const ZoneChange *change)
{
    BlockdevZoneChange info, *p = &info;
    QObject *obj;
    Visitor *v = qobject_output_visitor_new(&obj);
    g_autoptr(GString) str = NULL;

    zoned_change_info(change, &info);
    visit_type_BlockdevZoneChange(v, NULL, &p, &error_abort);
    visit_complete(v, &obj);
    str = qobject_to_json_pretty(obj, true);
    printf("%s\n", str->str);
    qobject_unref(obj);
    visit_free(v);
    qapi_free_BlockdevZoneAttributeList(info.attributes);
}

static void print_change(const ZoneTool *tool, const ZoneChange *change)
{
    const ZoneTotals *skipped = &change->skipped;
    const char *participle = zoned_change_participle(change);
    const char *separator = " (";

    print_range(tool);
    if (change->count == 1 && !change->all) {
        printf(": %s\n", change->changed ? participle : "unchanged");
        return;
    }
    printf(": %" PRIu32 " %s", change->changed, participle);
    if (change->unchanged) {
        printf(", %" PRIu32 " already %s", change->unchanged,
               zoned_change_outcome(change));
    }
    if (skipped->zones) {
        printf(", %" PRIu32 " left alone", skipped->zones);
        for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
            if (skipped->in_state[i]) {
                printf("%s%" PRIu32 " %s", separator, skipped->in_state[i],
                       BlockdevZoneState_str(i));
                separator = ", ";
            }
        }
        putchar(')');
    }
    putchar('\n');
}

typedef struct ZoneChangeCo {
    BlockBackend *blk;
    ZoneChange *change;
    Error *err;
    bool done;
} ZoneChangeCo;

static void coroutine_fn change_entry(void *opaque)
{
    ZoneChangeCo *co = opaque;

    blk_co_change_zones(co->blk, co->change, &co->err);
    co->done = true;
}

static int run_change(ZoneTool *tool, BlockdevZoneOperation operation)
{
    ZoneChange change = {
        .disk = tool->operands[0],
        .operation = operation,
        .condition = tool->condition,
        .attributes = tool->attributes,
        .all = tool->all,
        .first = tool->first,
        .count = tool->count,
    };
    ZoneChangeCo co = { .blk = tool->blk, .change = &change };

    qemu_coroutine_enter(qemu_coroutine_create(change_entry, &co));
    while (!co.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    if (co.err) {
        error_report_err(co.err);
        return -1;
    }
    if (tool->quiet) {
        return 0;
    }
    if (tool->json) {
        print_change_json(&change);
    } else {
        print_change(tool, &change);
    }
    return 0;
}

static int run_reset(ZoneTool *tool)
{
    return run_change(tool, BLOCKDEV_ZONE_OPERATION_RESET);
}

static int run_finish(ZoneTool *tool)
{
    return run_change(tool, BLOCKDEV_ZONE_OPERATION_FINISH);
}

static int run_set_condition(ZoneTool *tool)
{
    return run_change(tool, BLOCKDEV_ZONE_OPERATION_SET_CONDITION);
}

static int run_set_attributes(ZoneTool *tool)
{
    return run_change(tool, BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES);
}

/* --- Command line --- */

static const ZoneCommand zone_commands[] = {
    { ZC_REPORT, "report", run_report, "FILENAME", 1,
      "Show zones: place, capacity, write pointer, state",
      "  FILENAME\n"
      "     the image file (or image specification) to look at\n" },
    { ZC_MAP, "map", run_map, "FILENAME OUTPUT", 2,
      "Draw a picture of the zones",
      "  FILENAME\n"
      "     the image file (or image specification) to look at\n"
      "  OUTPUT\n"
      "     the file to write, in SVG; a name that ends in .svg, or - for "
      "standard\n"
      "     output\n" },
    { ZC_RESET, "reset", run_reset,
      "{--zone NUMBER | --offset OFFSET} FILENAME\n"
      "  qemu-img zone reset [OPTION...] --all FILENAME", 1,
      "Reset zones, or all: they become empty, and their data is gone",
      "  FILENAME\n"
      "     the image file (or image specification) to operate on\n" },
    { ZC_FINISH, "finish", run_finish,
      "{--zone NUMBER | --offset OFFSET} FILENAME\n"
      "  qemu-img zone finish [OPTION...] --all FILENAME", 1,
      "Finish zones, or all that are open or closed: they become full",
      "  FILENAME\n"
      "     the image file (or image specification) to operate on\n" },
    { ZC_SET_CONDITION, "set-condition", run_set_condition,
      "{--zone NUMBER | --offset OFFSET} FILENAME CONDITION\n"
      "  qemu-img zone set-condition [OPTION...] --all FILENAME CONDITION", 2,
      "Make zones fail as those of a worn disk, or repair them",
      "  FILENAME\n"
      "     the image file (or image specification) to operate on\n"
      "  CONDITION\n"
      "     good, read-only, or offline\n" },
    { ZC_SET_ATTRIBUTES, "set-attributes", run_set_attributes,
      "{--zone NUMBER | --offset OFFSET} FILENAME ATTRIBUTES\n"
      "  qemu-img zone set-attributes [OPTION...] --all FILENAME ATTRIBUTES",
      2, "Give zones the attributes that a controller gives them",
      "  FILENAME\n"
      "     the image file (or image specification) to operate on\n"
      "  ATTRIBUTES\n"
      "     those that the zones have from now on, separated by commas, or "
      "none:\n"
      "     reset-recommended for full zones, finish-recommended for open and "
      "closed\n"
      "     ones, finished-by-controller, which makes them full\n" },
};

static G_NORETURN void print_help(const char *program)
{
    printf("Usage:\n"
           "Report or change the zones of a zoned image that is not in use."
           "  Usage:\n\n"
           "  %s COMMAND [OPTION...] FILENAME...\n\n"
           "Commands (run %s COMMAND --help for help on one):\n", program,
           program);
    for (int i = 0; i < ARRAY_SIZE(zone_commands); i++) {
        printf("  %-15s%s\n", zone_commands[i].name,
               zone_commands[i].summary);
    }
    exit(EXIT_SUCCESS);
}

static void find_command(ZoneTool *tool, const char *name)
{
    for (int i = 0; i < ARRAY_SIZE(zone_commands); i++) {
        if (!strcmp(name, zone_commands[i].name)) {
            tool->command = &zone_commands[i];
            return;
        }
    }
    usage_error(tool, "Command not found: %s", name);
}

/* What getopt_long() wants to know; @letters has room for all of them. */
static void getopt_tables(const ZoneTool *tool, struct option *names,
                          char *letters)
{
    for (int i = 0; i < ARRAY_SIZE(zone_options); i++) {
        const ZoneOption *o = &zone_options[i];

        if (!has_option(tool, o)) {
            continue;
        }
        *names++ = (struct option) {
            .name = o->name,
            .has_arg = o->value ? required_argument : no_argument,
            .val = o->key,
        };
        if (o->key < OPTION_IMAGE_OPTS) {
            *letters++ = o->key;
            if (o->value) {
                *letters++ = ':';
            }
        }
    }
}

/* One of the words of a QAPI enumeration */
static int parse_word(const ZoneTool *tool, const char *what, const char *word,
                      const QEnumLookup *lookup)
{
    int value = qapi_enum_parse(lookup, word, -1, NULL);

    if (value < 0) {
        g_autoptr(GString) words = g_string_new(NULL);

        for (int i = 0; i < lookup->size; i++) {
            g_string_append_printf(words, "%s%s", i ? ", " : "",
                                   qapi_enum_lookup(lookup, i));
        }
        usage_error(tool, "%s (%s) must be one of: %s", what, word, words->str);
    }
    return value;
}

static uint8_t parse_attributes(const ZoneTool *tool, const char *text)
{
    static const char expected[] = "ATTRIBUTES (%s) must be none, or of these: "
                                   "finished-by-controller, "
                                   "finish-recommended, reset-recommended";
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    uint8_t attributes = 0;

    for (char **word = words; strcmp(text, "none") && *word; word++) {
        int value = qapi_enum_parse(&BlockdevZoneAttribute_lookup, *word, -1,
                                    NULL);
        BlockdevZoneAttributeList list = { .value = MAX(value, 0) };

        attributes |= zoned_report_attribute_bits(&list);
        if (value < 0 || attributes & ~BDRV_ZA_SETTABLE) {
            usage_error(tool, expected, text);
        }
    }
    return attributes;
}

static void set_first(ZoneTool *tool, const char *text, bool by_number)
{
    if (tool->first_text && tool->by_number != by_number) {
        usage_error(tool, "--zone cannot be combined with --offset");
    }
    tool->first_text = text;
    tool->by_number = by_number;
}

static void set_option(ZoneTool *tool, int key, const char *value)
{
    switch (key) {
    case 'h':
        print_command_help(tool);
    case 'f':
        tool->format = value;
        break;
    case OPTION_IMAGE_OPTS:
        tool->image_opts = true;
        break;
    case OPTION_OBJECT:
        user_creatable_process_cmdline(value);
        break;
    case 'U':
        tool->force_share = true;
        break;
    case OPTION_OUTPUT:
        tool->json = !strcmp(value, "json");
        if (!tool->json && strcmp(value, "human")) {
            usage_error(tool, "--output (%s) must be one of: human, json",
                        value);
        }
        break;
    case 'q':
        tool->quiet = true;
        break;
    case 'z':
    case 'o':
        set_first(tool, value, key == 'z');
        break;
    case 'c':
        tool->count_text = value;
        break;
    case OPTION_MAP:
        tool->map = true;
        break;
    case 'a':
        tool->all = true;
        break;
    case 's':
        tool->states |= 1u << parse_word(tool, "--state", value,
                                         &BlockdevZoneState_lookup);
        break;
    default:
        error_printf("Try '%s --help' for more info\n", tool->program);
        exit(EXIT_FAILURE);
    }
}

static void parse_options(ZoneTool *tool, int argc, char **argv)
{
    struct option names[ARRAY_SIZE(zone_options) + 1] = {};
    char letters[2 * ARRAY_SIZE(zone_options) + 1] = "";
    int key;

    getopt_tables(tool, names, letters);
    qemu_reset_optind();
    while ((key = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        set_option(tool, key, optarg);
    }
    tool->operands = argv + optind;
    if (argc - optind != tool->command->nr_operands) {
        usage_error(tool, tool->command->id == ZC_SET_CONDITION
                    ? "Expecting an image file name and a condition" :
                    tool->command->id == ZC_SET_ATTRIBUTES
                    ? "Expecting an image file name and attributes" :
                    tool->command->id == ZC_MAP
                    ? "Expecting an image file name and the file to write"
                    : "Expecting one image file name");
    }
    if (tool->image_opts && tool->format) {
        usage_error(tool, "--image-opts cannot be combined with --format");
    }
    if (tool->command->id == ZC_SET_CONDITION) {
        tool->condition = parse_word(tool, "CONDITION", tool->operands[1],
                                     &BlockZoneCondition_lookup);
    }
    if (tool->command->id == ZC_SET_ATTRIBUTES) {
        tool->attributes = parse_attributes(tool, tool->operands[1]);
    }
}

static void check_choice(const ZoneTool *tool)
{
    if (tool->map && (tool->json || tool->states)) {
        usage_error(tool, "--map cannot be combined with %s",
                    tool->json ? "--output=json" : "--state");
    }
    /* An image is not to be overwritten because the names were swapped. */
    if (tool->command->id == ZC_MAP && strcmp(tool->operands[1], "-") &&
        !g_str_has_suffix(tool->operands[1], ".svg")) {
        usage_error(tool, "OUTPUT (%s) must end in .svg, or be -",
                    tool->operands[1]);
    }
    if (!has_change(tool)) {
        return;
    }
    if (tool->all && (tool->first_text || tool->count_text)) {
        usage_error(tool, "--all cannot be combined with %s",
                    !tool->first_text ? "--count" :
                    tool->by_number ? "--zone" : "--offset");
    }
    if (!tool->all && !tool->first_text) {
        usage_error(tool, "Choose zones by --zone or --offset, or all of them "
                    "by --all");
    }
}

static bool open_disk(ZoneTool *tool)
{
    const BlockZoneLimits *limits;
    int64_t size;

    tool->blk = tool->open_image(tool->image_opts, tool->operands[0],
                                 tool->format,
                                 has_change(tool) ? BDRV_O_RDWR : 0, false,
                                 tool->quiet, tool->force_share);
    if (!tool->blk) {
        return false;
    }
    limits = blk_zone_limits(tool->blk);
    if (!limits) {
        error_report("'%s' has no zones", tool->operands[0]);
        error_printf("The option zone.mode=host-managed of 'qemu-img create' "
                     "and 'qemu-img convert' makes\na qcow2 image that has.\n");
        return false;
    }
    size = blk_getlength(tool->blk);
    if (size < 0) {
        error_report("Could not get the size of '%s': %s", tool->operands[0],
                     strerror(-size));
        return false;
    }
    tool->size = size;
    tool->zone_size = limits->size;
    tool->nr_zones = DIV_ROUND_UP(size, limits->size);
    return true;
}

int zoned_tool(int argc, char **argv, ZonedToolOpen *open_image)
{
    ZoneTool tool = { .open_image = open_image, .program = "qemu-img zone" };
    g_autofree char *program = NULL;
    int ret = -1;

    if (argc < 2) {
        usage_error(&tool, "Expecting a command");
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(tool.program);
    }
    find_command(&tool, argv[1]);
    program = g_strdup_printf("%s %s", tool.program, tool.command->name);
    tool.program = program;
    /* getopt_long() names it in its messages */
    argv[1] = program;
    parse_options(&tool, argc - 1, argv + 1);
    check_choice(&tool);

    if (open_disk(&tool) && find_range(&tool)) {
        ret = tool.command->run(&tool);
    }
    blk_unref(tool.blk);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
