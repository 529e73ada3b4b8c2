package compute_test

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

// TestEachInstalledMajor runs each PostgreSQL of this machine once: as Find
// orders them, with client programs of its own or of another major.
func TestEachInstalledMajor(t *testing.T) {
	for _, install := range computetest.Majors(t) {
		t.Run(strconv.Itoa(install.Version.Major), func(t *testing.T) {
			server := computetest.New(t, computetest.Options{Major: install.Version.Major})
			version, err := server.QueryValue(t.Context(), "SHOW server_version_num")
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(int(server.Install().Version.Num())), version)
			checksums, err := server.QueryValue(t.Context(), "SHOW data_checksums")
			require.NoError(t, err)
			require.Equal(t, "off", checksums, "the same default for all majors")
			out, err := server.Psql(t.Context(), "-c", "SHOW port")
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(server.Port()), out)
			require.NoError(t, server.BaseBackup(t.Context(), filepath.Join(computetest.TempDir(t), "copy")))
		})
	}
}
