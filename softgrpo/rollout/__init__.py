"""From prompts to judged groups: a stream of finished groups, and judging that overlaps with it."""
