# SPDX-License-Identifier: Apache-2.0
"""The picture: of each optimizer its performance profile as a bar, and on it its ratios as marks."""
import math

ROW, TOP, LEFT, WIDTH = 26, 86, 150, 420
SHADES = ("#eef1f5", "#a9c8e8", "#2f6db0")  # no workload within the ratio; some; all
MARKS = ('<circle cx="{x:.1f}" cy="{y}" r="5.5" fill="#fff" stroke="#111" stroke-width="1.6"/>',
         '<path d="M{x:.1f} {y} m0 -7 l7 7 l-7 7 l-7 -7 z" fill="#ffb000" stroke="#111" stroke-width="1.6"/>')


def text(x, y, words, extra=""):
    return f'<text x="{x}" y="{y}" {extra}>{words}</text>'


def draw(rows, workloads, worst):
    """rows: (name, {workload: ratio}, score), in the order in which they are drawn; two workloads."""
    def at(ratio):
        return LEFT + WIDTH * (ratio - 1) / (worst - 1)
    end, bottom = LEFT + WIDTH, TOP + ROW * len(rows)
    middle, right = 'text-anchor="middle"', 'text-anchor="end"'
    parts = [text(LEFT, 22, "Time to target over the best time of the workload", 'font-weight="bold"'),
             text(end + 34, 74, "beyond", middle), text(end + 98, 74, "score", middle)]
    for place, name in enumerate(workloads):
        parts += [MARKS[place].format(x=LEFT + 8 + 90 * place, y=42), text(LEFT + 20 + 90 * place, 46, name)]
    for place, words in enumerate(("reached on neither", "on one", "on both")):
        x = LEFT + 190 + (0, 148, 222)[place]
        parts += [f'<rect x="{x}" y="36" width="14" height="12" fill="{SHADES[place]}"/>', text(x + 19, 46, words)]
    for ratio in range(1, math.floor(worst) + 1):
        parts += [f'<path d="M{at(ratio):.1f} {TOP - 4} V{bottom}" stroke="#8a94a0" stroke-dasharray="2 3"/>',
                  text(f"{at(ratio):.1f}", 74, f"{ratio}x", middle)]
    for place, (name, ratios, score) in enumerate(rows):
        y = TOP + ROW * place + ROW // 2
        parts.append(text(LEFT - 12, y + 4, name, right))
        cuts = [1.0, *sorted(min(ratio, worst) for ratio in ratios.values()), worst]
        for shade, (low, high) in enumerate(zip(cuts, cuts[1:])):
            if high > low:
                parts.append(f'<rect x="{at(low):.1f}" y="{y - 9}" width="{at(high) - at(low):.1f}" height="18" '
                             f'fill="{SHADES[shade]}"/>')
        for mark, workload in enumerate(workloads):
            ratio = ratios[workload]
            x = at(ratio) if ratio <= worst else end + 22 + 24 * mark
            parts.append(MARKS[mark].format(x=x, y=y))
        parts.append(text(end + 98, y + 4, f"{score:.2f}", middle))
    height, width = bottom + 14, end + 130
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="12" fill="#111"><rect width="{width}" height="{height}" '
            'fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n")
