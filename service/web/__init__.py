"""The page at `/`: ES modules, styles and one HTML shell, over the JSON API and its event streams."""
