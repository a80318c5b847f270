//! Sources and sinks: nexmark, sequence, files, print, blackhole.
