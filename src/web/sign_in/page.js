"use strict";
// The place on the page that a link led to is only known to the browser: it comes back there.
if (location.pathname === "/") {
  document.getElementById("sign-in").href = "/auth/sign-in?to=" + encodeURIComponent("/" + location.search + location.hash);
}
