/*
 * Pictures of the zones of a disk: cells that are filled as zones are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "block/zoned-picture.h"

/* Colours differ in brightness, too, for those who see them in other ways. */
static const struct StateStyle {
    const char *svg_colour;
    const char *terminal;        /* Select Graphic Rendition, ECMA-48 */
    char plain;                  /* 0: a digit */
} state_styles[BLOCKDEV_ZONE_STATE__MAX] = {
    [BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER] = { "#b39ddb", "35", 'C' },
    [BLOCKDEV_ZONE_STATE_EMPTY] = { "#e8ecf1", "2", '.' },
    [BLOCKDEV_ZONE_STATE_IMPLICITLY_OPEN] = { "#66bb6a", "32", 0 },
    [BLOCKDEV_ZONE_STATE_EXPLICITLY_OPEN] = { "#1b7f3b", "1;32", 0 },
    [BLOCKDEV_ZONE_STATE_CLOSED] = { "#3f83d6", "34", 0 },
    [BLOCKDEV_ZONE_STATE_FULL] = { "#37474f", "37", '#' },
    [BLOCKDEV_ZONE_STATE_READ_ONLY] = { "#f5a623", "33", 'R' },
    [BLOCKDEV_ZONE_STATE_OFFLINE] = { "#d32f2f", "1;31", 'X' },
};

/* --- Cells --- */

void zoned_picture_init(ZonePicture *picture, uint32_t first, uint32_t count,
                        uint32_t max_cells)
{
    picture->first = first;
    picture->count = count;
    picture->group = pow2ceil(DIV_ROUND_UP(count, max_cells));
    picture->nr_cells = DIV_ROUND_UP(count, picture->group);
    picture->cells = g_new0(ZoneTotals, picture->nr_cells);
    picture->resets = g_new0(uint32_t, picture->nr_cells);
}

void zoned_picture_destroy(ZonePicture *picture)
{
    g_free(picture->cells);
    g_free(picture->resets);
    picture->cells = NULL;
    picture->resets = NULL;
}

void zoned_picture_add(ZonePicture *picture, uint32_t index,
                       const BlockZoneDescriptor *zone)
{
    uint32_t cell = (index - picture->first) / picture->group;

    assert(cell < picture->nr_cells);
    zoned_report_add(&picture->cells[cell], zone);
    zoned_report_add(&picture->totals, zone);
}

void zoned_picture_add_resets(ZonePicture *picture, uint32_t index,
                              uint32_t resets)
{
    uint32_t cell = (index - picture->first) / picture->group;

    assert(cell < picture->nr_cells);
    picture->resets[cell] = MAX(picture->resets[cell], resets);
    if (resets > picture->most_resets) {
        picture->most_resets = resets;
        picture->most_reset_zone = index;
    }
}

static uint64_t cell_capacity(const ZoneTotals *cell)
{
    uint64_t sum = 0;

    for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
        sum += cell->capacity[i];
    }
    return sum;
}

/*
 * The state that stands for a cell: that of a zone that has failed, otherwise
 * that of most zones that are not empty
 */
static BlockdevZoneState cell_state(const ZoneTotals *cell)
{
    BlockdevZoneState most = BLOCKDEV_ZONE_STATE_EMPTY;

    if (cell->in_state[BLOCKDEV_ZONE_STATE_OFFLINE]) {
        return BLOCKDEV_ZONE_STATE_OFFLINE;
    }
    if (cell->in_state[BLOCKDEV_ZONE_STATE_READ_ONLY]) {
        return BLOCKDEV_ZONE_STATE_READ_ONLY;
    }
    for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
        if (cell->in_state[i] &&
            (most == BLOCKDEV_ZONE_STATE_EMPTY ||
             (i != BLOCKDEV_ZONE_STATE_EMPTY &&
              cell->in_state[i] > cell->in_state[most]))) {
            most = i;
        }
    }
    return most;
}

/* --- Terminals --- */

/* In @steps; neither 0 nor all of them for a cell that is filled in part */
static int fill_level(const ZoneTotals *cell, int steps)
{
    uint64_t all = cell_capacity(cell);
    int level = all ? (double)cell->written / all * steps : 0;

    return cell->written ? MAX(level, 1) : 0;
}

static void add_block(GString *s, const ZoneTotals *cell,
                      BlockdevZoneState state)
{
    static const char *const blocks[] = {
        "·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
    };

    if (state == BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER) {
        g_string_append(s, "▒");
    } else if (state == BLOCKDEV_ZONE_STATE_OFFLINE) {
        g_string_append(s, "×");
    } else {
        g_string_append(s, blocks[fill_level(cell, ARRAY_SIZE(blocks) - 1)]);
    }
}

/* A zone or group that is written in part is a digit, its tenths */
static char plain_character(const ZoneTotals *cell, BlockdevZoneState state)
{
    bool mixed = cell->in_state[state] != cell->zones;
    char c = state_styles[state].plain;

    if (c && (!mixed || state == BLOCKDEV_ZONE_STATE_READ_ONLY ||
              state == BLOCKDEV_ZONE_STATE_OFFLINE)) {
        return c;
    }
    return '0' + MIN(fill_level(cell, 10), 9);
}

static void add_cell(GString *s, const ZoneTotals *cell,
                     ZonePictureStyle style)
{
    BlockdevZoneState state = cell_state(cell);

    if (style != ZONE_PICTURE_PLAIN) {
        g_string_append_printf(s, "\033[%sm", state_styles[state].terminal);
    }
    if (style == ZONE_PICTURE_BLOCKS) {
        add_block(s, cell, state);
    } else {
        g_string_append_c(s, plain_character(cell, state));
    }
    if (style != ZONE_PICTURE_PLAIN) {
        g_string_append(s, "\033[0m");
    }
}

static void add_group(GString *s, const ZonePicture *p)
{
    if (p->group == 1) {
        g_string_append(s, "A character is a zone");
    } else {
        g_string_append_printf(s, "A character is %" PRIu32 " zones",
                               p->group);
    }
}

static void add_legend(GString *s, const ZonePicture *p,
                       ZonePictureStyle style)
{
    static const BlockZoneState states[BLOCKDEV_ZONE_STATE__MAX] = {
        BLK_ZS_NOT_WP, BLK_ZS_EMPTY, BLK_ZS_IOPEN, BLK_ZS_EOPEN, BLK_ZS_CLOSED,
        BLK_ZS_FULL, BLK_ZS_RDONLY, BLK_ZS_OFFLINE,
    };

    g_string_append_c(s, '\n');
    for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
        BlockdevZoneState state = zoned_report_state(states[i]);
        BlockZoneDescriptor half = { .cap = 2, .wp = 1, .state = states[i] };
        ZoneTotals example = {};

        if (!p->totals.in_state[state]) {
            continue;
        }
        if (states[i] == BLK_ZS_EMPTY) {
            half.wp = 0;
        }
        zoned_report_add(&example, &half);
        g_string_append(s, "  ");
        add_cell(s, &example, style);
        g_string_append_printf(s, " %" PRIu32 " %s\n", p->totals.in_state[state],
                               BlockdevZoneState_str(state));
    }
    add_group(s, p);
    g_string_append(s, style == ZONE_PICTURE_BLOCKS
                    ? ", filled to its write pointer.\n"
                    : "; a digit is the tenths of it that are written.\n");
}

/* How often zones have been reset, beside that one which was most often */
static void add_wear(GString *s, const ZonePicture *p, uint32_t resets)
{
    if (!resets) {
        g_string_append_c(s, '.');
    } else {
        g_string_append_c(s, '0' + MIN(resets * 10ULL / p->most_resets, 9));
    }
}

static void add_wear_legend(GString *s, const ZonePicture *p)
{
    g_string_append_c(s, '\n');
    add_group(s, p);
    if (p->most_resets) {
        g_string_append_printf(s, "; a digit is the tenths of %" PRIu32
                               " resets, that zone %" PRIu32 " had.\n",
                               p->most_resets, p->most_reset_zone);
    } else {
        g_string_append(s, "; no zone has been reset.\n");
    }
}

GString *zoned_picture_text(const ZonePicture *p, ZonePictureStyle style,
                            unsigned int columns)
{
    GString *s = g_string_new(NULL);
    /* The number of the first zone and two spaces are before the cells */
    uint32_t per_line = pow2floor(MAX(columns, 26) - 10);

    for (uint32_t i = 0; i < p->nr_cells; i += per_line) {
        g_string_append_printf(s, "%8" PRIu32 "  ", p->first + i * p->group);
        for (uint32_t k = i; k < MIN(i + per_line, p->nr_cells); k++) {
            if (style == ZONE_PICTURE_WEAR) {
                add_wear(s, p, p->resets[k]);
            } else {
                add_cell(s, &p->cells[k], style);
            }
        }
        g_string_append_c(s, '\n');
    }
    if (style == ZONE_PICTURE_WEAR) {
        add_wear_legend(s, p);
    } else {
        add_legend(s, p, style);
    }
    return s;
}

/* --- SVG --- */

#define SVG_WIDTH 1000
#define SVG_LEFT 90              /* of the cells; numbers of zones are before */
#define SVG_RIGHT 100            /* offsets are behind the cells */
#define SVG_CELLS (SVG_WIDTH - SVG_LEFT - SVG_RIGHT)
#define SVG_TOP 118              /* of the legend */
#define SVG_LEGEND_LINE 22
#define SVG_LEGEND_COLUMNS 4

/* Where the cells are */
typedef struct SvgGrid {
    double top, width, height, gap;
    uint32_t columns;
} SvgGrid;

static void svg_rect(GString *s, double x, double y, double width,
                     double height, const char *colour)
{
    char n[4][G_ASCII_DTOSTR_BUF_SIZE];
    double values[4] = { x, y, width, height };

    for (int i = 0; i < 4; i++) {
        g_ascii_formatd(n[i], sizeof(n[i]), "%.2f", values[i]);
    }
    g_string_append_printf(s, "<rect x=\"%s\" y=\"%s\" width=\"%s\" "
                           "height=\"%s\" fill=\"%s\"/>", n[0], n[1], n[2],
                           n[3], colour);
}

/* @attributes: more of them, or "" */
static void svg_text(GString *s, int x, int y, const char *attributes,
                     const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    g_autofree char *escaped = NULL;

    /* XML has no way to write these */
    for (char *c = valid; *c; c++) {
        if (g_ascii_iscntrl(*c)) {
            *c = '?';
        }
    }
    escaped = g_markup_escape_text(valid, -1);
    g_string_append_printf(s, "<text x=\"%d\" y=\"%d\" %s>%s</text>\n", x, y,
                           attributes, escaped);
}

/* A part of [@x, @x + @width) for each state, by what zones can hold */
static void svg_totals_bar(GString *s, const ZoneTotals *totals, double x,
                           double y, double width, double height)
{
    static const BlockdevZoneState order[BLOCKDEV_ZONE_STATE__MAX] = {
        BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER, BLOCKDEV_ZONE_STATE_FULL,
        BLOCKDEV_ZONE_STATE_CLOSED, BLOCKDEV_ZONE_STATE_IMPLICITLY_OPEN,
        BLOCKDEV_ZONE_STATE_EXPLICITLY_OPEN, BLOCKDEV_ZONE_STATE_READ_ONLY,
        BLOCKDEV_ZONE_STATE_OFFLINE, BLOCKDEV_ZONE_STATE_EMPTY,
    };
    uint64_t all = cell_capacity(totals);

    for (int i = 0; i < ARRAY_SIZE(order); i++) {
        double part = all ? width * totals->capacity[order[i]] / all : 0;

        if (part > 0) {
            svg_rect(s, x, y, part, height, state_styles[order[i]].svg_colour);
            x += part;
        }
    }
    g_string_append_c(s, '\n');
}

static void svg_heading(GString *s, const ZonePicture *p)
{
    g_autofree char *size = size_to_str(p->size);
    g_autofree char *written = size_to_str(p->totals.written);
    g_autofree char *left = size_to_str(p->totals.left);
    g_autoptr(GString) line = g_string_new(NULL);
    char zone_size[ZONED_SIZE_MAX], capacity[ZONED_SIZE_MAX];

    svg_text(s, SVG_LEFT, 38, "font-size=\"20\" font-weight=\"bold\"", p->name);
    g_string_printf(line, "%s, %" PRIu32 " zones of %s", size, p->nr_zones,
                    zoned_report_size(zone_size, p->zone_size));
    if (p->capacity) {
        g_string_append_printf(line, ", capacity %s",
                               zoned_report_size(capacity, p->capacity));
    }
    if (p->max_open) {
        g_string_append_printf(line, ", at most %" PRIu32 " open", p->max_open);
    }
    if (p->max_active) {
        g_string_append_printf(line, ", at most %" PRIu32 " active",
                               p->max_active);
    }
    svg_text(s, SVG_LEFT, 60, "fill=\"#455a64\"", line->str);
    g_string_printf(line, "%s written, %s left", written, left);
    if (p->count != p->nr_zones) {
        g_string_append_printf(line, " in zones %" PRIu32 " to %" PRIu32,
                               p->first, p->first + p->count - 1);
    }
    svg_text(s, SVG_LEFT, 80, "fill=\"#455a64\"", line->str);
    svg_totals_bar(s, &p->totals, SVG_LEFT, 90, SVG_CELLS, 12);
}

/* Returns the number of lines. */
static int svg_legend(GString *s, const ZonePicture *p)
{
    int n = 0;

    for (int i = 0; i < BLOCKDEV_ZONE_STATE__MAX; i++) {
        int x = SVG_LEFT + n % SVG_LEGEND_COLUMNS *
                           (SVG_CELLS / SVG_LEGEND_COLUMNS);
        int y = SVG_TOP + n / SVG_LEGEND_COLUMNS * SVG_LEGEND_LINE;
        g_autofree char *text = NULL;

        if (!p->totals.in_state[i]) {
            continue;
        }
        text = g_strdup_printf("%" PRIu32 " %s", p->totals.in_state[i],
                               i == BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER
                               ? "conventional" : BlockdevZoneState_str(i));
        svg_rect(s, x, y, 14, 14, state_styles[i].svg_colour);
        svg_text(s, x + 20, y + 12, "", text);
        n++;
    }
    return DIV_ROUND_UP(n, SVG_LEGEND_COLUMNS);
}

static SvgGrid svg_grid(const ZonePicture *p, double top)
{
    uint32_t n = p->nr_cells;
    SvgGrid grid = {
        .top = top,
        .columns = n <= 32 ? 8 : n <= 128 ? 16 : n <= 512 ? 32 : 64,
    };

    grid.width = (double)SVG_CELLS / grid.columns;
    grid.height = MIN(grid.width, 72);
    grid.gap = grid.width > 20 ? 3 : 1.5;
    return grid;
}

/* What a viewer shows when the mouse is on a cell */
static void svg_title(GString *s, const ZonePicture *p, uint32_t i)
{
    const ZoneTotals *cell = &p->cells[i];
    uint32_t zone = p->first + i * p->group;
    g_autofree char *written = size_to_str(cell->written);
    g_autofree char *left = size_to_str(cell->left);

    g_string_append_printf(s, "<title>zone %" PRIu32, zone);
    if (cell->zones > 1) {
        g_string_append_printf(s, " to %" PRIu32, zone + cell->zones - 1);
    }
    g_string_append(s, ":");
    for (int state = 0; state < BLOCKDEV_ZONE_STATE__MAX; state++) {
        if (!cell->in_state[state]) {
            continue;
        }
        if (cell->zones > 1) {
            g_string_append_printf(s, " %" PRIu32, cell->in_state[state]);
        }
        g_string_append_printf(s, " %s,", BlockdevZoneState_str(state));
    }
    g_string_append_printf(s, " %s written, %s left</title>", written, left);
}

/*
 * Fill a cell from its bottom: so much of each state as its zones have of all,
 * those with a pointer up to that.
 */
static void svg_fill(GString *s, const ZoneTotals *cell, double x, double y,
                     double width, double height)
{
    static const BlockdevZoneState order[] = {
        BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER, BLOCKDEV_ZONE_STATE_FULL,
        BLOCKDEV_ZONE_STATE_CLOSED, BLOCKDEV_ZONE_STATE_IMPLICITLY_OPEN,
        BLOCKDEV_ZONE_STATE_EXPLICITLY_OPEN, BLOCKDEV_ZONE_STATE_READ_ONLY,
        BLOCKDEV_ZONE_STATE_OFFLINE,
    };
    double bottom = y + height;
    uint64_t all = cell_capacity(cell);

    for (int i = 0; i < ARRAY_SIZE(order); i++) {
        BlockdevZoneState state = order[i];
        double part = height * cell->filled[state] / all;

        if (part > 0) {
            part = MIN(MAX(part, 1.5), bottom - y);
            bottom -= part;
            svg_rect(s, x, bottom, width, part,
                     state_styles[state].svg_colour);
        }
    }
}

/* Zones that have failed are few, and may be empty: a corner shows them. */
static void svg_corner(GString *s, const ZoneTotals *cell, double x, double y,
                       double size)
{
    BlockdevZoneState state = cell_state(cell);

    if (state != BLOCKDEV_ZONE_STATE_READ_ONLY &&
        state != BLOCKDEV_ZONE_STATE_OFFLINE) {
        return;
    }
    svg_rect(s, x, y, size, size, "#ffffff");
    svg_rect(s, x + 0.5, y, size - 0.5, size - 0.5,
             state_styles[state].svg_colour);
}

static void svg_cell(GString *s, const ZonePicture *p, const SvgGrid *grid,
                     uint32_t i)
{
    const ZoneTotals *cell = &p->cells[i];
    double x = SVG_LEFT + i % grid->columns * grid->width;
    double y = grid->top + i / grid->columns * grid->height;
    double width = grid->width - grid->gap;
    double height = grid->height - grid->gap;
    double corner = MAX(5, width / 2.5);

    g_string_append(s, "<g>");
    svg_title(s, p, i);
    svg_rect(s, x, y, width, height,
             state_styles[BLOCKDEV_ZONE_STATE_EMPTY].svg_colour);
    svg_fill(s, cell, x, y, width, height);
    svg_corner(s, cell, x + width - MIN(corner, 20), y, MIN(corner, 20));
    g_string_append(s, "</g>\n");
}

static void svg_row_labels(GString *s, const ZonePicture *p,
                           const SvgGrid *grid, uint32_t i)
{
    int y = grid->top + i / grid->columns * grid->height + grid->height / 2 + 4;
    uint32_t zone = p->first + i * p->group;
    char number[ZONED_SIZE_MAX], offset[ZONED_SIZE_MAX];

    snprintf(number, sizeof(number), "%" PRIu32, zone);
    svg_text(s, SVG_LEFT - 8, y, "class=\"label\" text-anchor=\"end\"", number);
    svg_text(s, SVG_LEFT + SVG_CELLS + 8, y, "class=\"label\"",
             zoned_report_size(offset, zone * p->zone_size));
}

/* Returns where the grid ends. */
static double svg_cells(GString *s, const ZonePicture *p, double top)
{
    SvgGrid grid = svg_grid(p, top);
    uint32_t rows = DIV_ROUND_UP(p->nr_cells, grid.columns);
    /* With low cells, not every row has room for a label */
    uint32_t step = grid.height < 16 ? 4 : 1;

    svg_text(s, SVG_LEFT - 8, top - 8, "class=\"label\" text-anchor=\"end\"",
             "zone");
    svg_text(s, SVG_LEFT + SVG_CELLS + 8, top - 8, "class=\"label\"",
             "offset");
    for (uint32_t i = 0; i < p->nr_cells; i++) {
        if (i % (grid.columns * step) == 0) {
            svg_row_labels(s, p, &grid, i);
        }
        svg_cell(s, p, &grid, i);
    }
    return top + rows * grid.height;
}

GString *zoned_picture_svg(const ZonePicture *p)
{
    GString *body = g_string_new(NULL), *s = g_string_new(NULL);
    g_autofree char *note = NULL;
    double bottom;
    int lines;

    svg_heading(body, p);
    lines = svg_legend(body, p);
    bottom = svg_cells(body, p, SVG_TOP + lines * SVG_LEGEND_LINE + 34);
    note = p->group == 1
           ? g_strdup("Each cell is a zone, filled from its bottom up to the "
                      "write pointer; a corner is coloured if it has failed.")
           : g_strdup_printf("Each cell is %" PRIu32 " zones, filled from its "
                             "bottom with what is written, by state; a corner "
                             "is coloured where a zone has failed.", p->group);
    svg_text(body, SVG_LEFT, bottom + 22, "fill=\"#455a64\"", note);

    g_string_printf(s, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
                    "height=\"%d\" viewBox=\"0 0 %d %d\" "
                    "font-family=\"sans-serif\" font-size=\"14\">\n"
                    "<style>.label { font-size: 12px; fill: #78909c }"
                    "</style>\n"
                    "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>"
                    "\n", SVG_WIDTH, (int)bottom + 40, SVG_WIDTH,
                    (int)bottom + 40);
    g_string_append_len(s, body->str, body->len);
    g_string_append(s, "</svg>\n");
    g_string_free(body, true);
    return s;
}
