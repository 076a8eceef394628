"""Rules of the proxy in front of Ray's dashboard: which users may see which parts, and what nobody may see."""
