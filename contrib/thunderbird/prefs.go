package main

import (
	"fmt"
	"strings"
)

// A pref is a setting of the profile.
type pref struct {
	name  string
	value any
}

// quiet keeps Thunderbird from what a person does not see and a test cannot have:
// updates, telemetry, hints of the day.
var quiet = []pref{
	{"marionette.port", 0}, // any, which it then writes into the profile
	{"app.donation.eoy.version.viewed", 999},
	{"app.update.enabled", false},
	{"datareporting.policy.dataSubmissionEnabled", false},
	{"datareporting.policy.dataSubmissionPolicyBypassNotification", true},
	{"extensions.update.enabled", false},
	{"layers.acceleration.disabled", true},
	{"mail.biff.show_alert", false},
	{"mail.inappnotifications.enabled", false},
	{"mail.rights.version", 1},
	{"mail.shell.checkDefaultClient", false},
	{"mail.spotlight.firstRunDone", true},
	{"mailnews.start_page.enabled", false},
	{"network.captive-portal-service.enabled", false},
	{"network.connectivity-service.enabled", false},
	{"network.manage-offline-status", false},
	{"network.proxy.type", 0},
	{"offline.autoDetect", false},
	{"offline.startup_state", 2}, // online
	{"remote.prefs.recommended", true},
	{"services.settings.server", "http://127.0.0.1:9/v1"},
	{"signon.rememberSignons", true},
	{"toolkit.telemetry.enabled", false},
}

// untouched leaves all as a new user finds it, but for the remote control, and keeps that
// from settings of its own: it would have no password remembered.
var untouched = []pref{{"marionette.port", 0}, {"remote.prefs.recommended", false}}

// prefs returns the settings of a profile whose account is set up without the
// assistant. New mail is not asked for (check_new_mail), so that only IDLE tells of it.
func prefs() string {
	return userJS(append([]pref{
		{"mail.provider.suppress_dialog_on_startup", true},
		{"mail.server.default.check_new_mail", false},
	}, quiet...))
}

// userJS returns settings as a profile has them.
func userJS(all []pref) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "user_pref(%q, ", p.name)
		if s, ok := p.value.(string); ok {
			fmt.Fprintf(&b, "%q);\n", s)
		} else {
			fmt.Fprintf(&b, "%v);\n", p.value)
		}
	}
	return b.String()
}

// prelude is what the steps share in Thunderbird.
const prelude = `
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const main = Services.wm.getMostRecentWindow("mail:3pane");
const sleep = ms => new Promise(done => setTimeout(done, ms));
const until = async (what, test) => {
	for (let i = 0; i < 600; i++) {
		const v = await test();
		if (v) return v;
		await sleep(250);
	}
	throw new Error("waited in vain for " + what);
};
const server = () => MailServices.accounts.allServers.find(s => s.type == "imap");
const folder = name => server().rootFolder.descendants.find(f => f.name.toLowerCase() == name.toLowerCase());
const messages = f => [...f.messages];
const find = (f, subject) => messages(f).find(m => m.mime2DecodedSubject == subject);
// done returns a listener of the message service, and a promise that it keeps.
const listen = () => {
	let ok, bad;
	const promise = new Promise((a, b) => { ok = a; bad = b; });
	const listener = {
		QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener"]),
		OnStartRunningUrl() {}, OnStopRunningUrl(url, status) { status ? bad(new Error("status " + status)) : ok(); },
		onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() { return null; },
		onStopCopy(status) { status ? bad(new Error("status " + status)) : ok(); },
	};
	return { listener, promise };
};
`
