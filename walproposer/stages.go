package walproposer

import "github.com/walhaven/walhaven/internal/daemon"

// stages is the way of a commit as the walproposer sees it, for /debug/commits.
// What a safekeeper does with WAL it says itself.
var stages = []daemon.Stage{
	{Name: "publish", Metric: "walhaven_walproposer_publish_seconds", From: "WAL read from PostgreSQL - in the queue, workers rung"},
	{Name: "wake", Metric: "walhaven_walproposer_queue_wait_seconds", From: "in the queue - a worker begins to send it"},
	{Name: "send", Metric: "walhaven_walproposer_push_send_seconds", From: "begun - handed to the kernel"},
	{Name: "round trip", Metric: "walhaven_walproposer_push_round_trip_seconds", From: "begun - a worker has the safekeeper's acknowledgement"},
	{Name: "quorum wait", Metric: "walhaven_walproposer_quorum_wait_seconds", From: "first acknowledgement - quorum"},
	{Name: "commit", Metric: "walhaven_walproposer_publish_to_commit_seconds", From: "in the queue - quorum"},
	{Name: "report", Metric: "walhaven_walproposer_report_seconds", From: "quorum - PostgreSQL was told"},
}
