package daemon

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogFormats(t *testing.T) {
	var out bytes.Buffer
	logger, err := LogConfig{}.NewLogger(&out)
	require.NoError(t, err)
	logger.Debug("hidden")
	logger.Info("segment closed", "lsn", "0/3000000", "name", "two words")
	require.Contains(t, out.String(), `level=info msg="segment closed" lsn=0/3000000 name="two words"`)
	require.NotContains(t, out.String(), "hidden")

	out.Reset()
	logger, err = LogConfig{LogLevel: "debug", LogFormat: "json"}.NewLogger(&out)
	require.NoError(t, err)
	logger.Debug("shown", slog.Group("g", "level", "kept"))
	var record map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &record))
	require.Equal(t, "debug", record["level"])
	require.Equal(t, map[string]any{"level": "kept"}, record["g"])

	_, err = LogConfig{LogLevel: "loud"}.NewLogger(&out)
	require.ErrorContains(t, err, "want debug, info, warn or error")
	_, err = LogConfig{LogFormat: "xml"}.NewLogger(&out)
	require.ErrorContains(t, err, "want logfmt or json")
}
