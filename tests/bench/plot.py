# Throughput as a picture: a panel for each kind of work and block size, a group
# of bars for each depth, a bar for each format; the line is the spread.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from xml.sax.saxutils import escape

COLORS = ['#0b5394', '#6fa8dc', '#e69138', '#f6c28b', '#777777']
PANEL_WIDTH, PANEL_HEIGHT = 300, 150
GAP_X, GAP_Y = 70, 62
LEFT, TOP = 70, 96
TICKS = 4


def nice_ceiling(value):
    scale = 1
    while scale * 10 <= value:
        scale *= 10
    for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10):
        if value <= factor * scale:
            return factor * scale
    return 10 * scale


def text(x, y, words, anchor='middle', size=11, more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}"{more}>{escape(words)}</text>')


def line(x1, y1, x2, y2, color):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{color}"/>')


def panel(x, y, title, groups, colors):
    """@groups: (name, {series: (low, middle, high)})"""
    top = nice_ceiling(max(high for _, bars in groups
                           for _, _, high in bars.values()))

    def height(value):
        return PANEL_HEIGHT * value / top

    bottom = y + PANEL_HEIGHT
    parts = [text(x + PANEL_WIDTH / 2, y - 8, title, size=12,
                  more=' font-weight="bold"')]
    for tick in range(TICKS + 1):
        value = top * tick / TICKS
        at = bottom - height(value)
        parts += [line(x, at, x + PANEL_WIDTH, at, '#e4e4e4'),
                  text(x - 6, at + 4, f'{value:,.0f}', 'end')]
    width = PANEL_WIDTH / len(groups)
    for number, (name, bars) in enumerate(groups):
        bar = width * 0.8 / len(bars)
        left = x + width * (number + 0.1)
        parts.append(text(x + width * (number + 0.5), bottom + 16, name))
        for place, (series, (low, middle, high)) in enumerate(bars.items()):
            at = left + bar * place
            parts.append(
                f'<rect x="{at + 1:.1f}" y="{bottom - height(middle):.1f}" '
                f'width="{bar - 2:.1f}" height="{height(middle):.1f}" '
                f'fill="{colors[series]}"><title>{escape(series)}: '
                f'{middle:,.0f} MB/s</title></rect>')
            middle_x = at + bar / 2
            parts.append(line(middle_x, bottom - height(low), middle_x,
                              bottom - height(high), '#222222'))
    parts.append(line(x, bottom, x + PANEL_WIDTH, bottom, '#444444'))
    return parts


def svg(title, rows):
    """
    @rows: (name of the work, (name of the panel, groups) for each block size)
    """
    series = list(dict.fromkeys(
        name for _, panels in rows for _, groups in panels
        for _, bars in groups for name in bars))
    colors = dict(zip(series, COLORS))
    columns = max(len(panels) for _, panels in rows)
    width = LEFT + columns * (PANEL_WIDTH + GAP_X)
    parts = [text(LEFT, 28, title, 'start', 16, ' font-weight="bold"'),
             text(LEFT, 46, 'MB/s, median; the thin lines go from the lower to '
                  'the upper quartile', 'start')]
    for number, name in enumerate(series):
        x = LEFT + number * 190
        parts += [f'<rect x="{x}" y="56" width="12" height="12" '
                  f'fill="{colors[name]}"/>', text(x + 18, 66, name, 'start')]
    for row, (name, panels) in enumerate(rows):
        y = TOP + row * (PANEL_HEIGHT + GAP_Y)
        for column, (block, groups) in enumerate(panels):
            x = LEFT + column * (PANEL_WIDTH + GAP_X)
            parts += panel(x, y + 12, f'{name}, {block}', groups, colors)
    height = TOP + len(rows) * (PANEL_HEIGHT + GAP_Y)
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *parts, '</svg>', ''])
