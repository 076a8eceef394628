// What follows the # never reaches a server: only the page itself can take it along.
const signIn = new URL(document.querySelector("a").href);
signIn.searchParams.set("next", location.pathname + location.search + location.hash);
location.replace(signIn);
