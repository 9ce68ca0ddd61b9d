"""What a run can be told: settings, checks, presets, YAML."""
